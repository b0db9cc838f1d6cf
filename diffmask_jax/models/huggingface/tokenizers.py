"""A folder's tokenizer, by transformers' fast tokenizers, without PyTorch and without network.

Or, without transformers either, as an earlier process read it (`kept_tokenizers`).
"""

import collections
import contextlib
import functools
import importlib.util
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface import kept_tokenizers
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.json_files import shown
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.settings import digest

GENERIC = "TokenizersBackend"
"""The class that reads any tokenizer.json."""

SPECIAL = {
    "cls_token": "token before a text",
    "sep_token": "token after a text",
    "mask_token": "mask token",
}
SAMPLE = "Déjà-vu: 3,5% of CAFÉS  (中文)…"
WORDS = 64  # of a vocabulary, to try what becomes of them


class FolderTokenizer(NamedTuple):
    """What is asked of a folder's tokenizer, whether transformers has read it now or before.

    backend_tokenizer: it itself, of the tokenizers library; it neither truncates nor pads
    model_input_names, truncation_side: as of `wordpieces.Tokenizer`
    mask_token_id, unk_token_id, eos_token_id: pieces, None where there is no such one
    digest: tells tokenizers apart, by their word pieces and what they make of some texts
    by_transformers: the same as transformers' class
    """

    backend_tokenizer: Any
    model_input_names: tuple[str, ...]
    truncation_side: str
    mask_token_id: int | None
    unk_token_id: int | None
    eos_token_id: int | None
    digest: str
    by_transformers: Callable[[], Any]

    def save_pretrained(self, folder: Path) -> None:
        """Write its files as transformers does."""
        self.by_transformers().save_pretrained(folder)


def read_tokenizer_of(folder: Path, vocabulary: int, usual: str) -> FolderTokenizer:
    """The tokenizer of a model that knows so many word pieces.

    usual: as of `read_tokenizer`.

    Raises: UserError as `read_tokenizer` does, or if it has a piece that the model does not.
    """
    read = functools.partial(read_tokenizer, folder, usual)
    place = kept_tokenizers.place_of(folder, usual)
    found = None if place is None else kept_tokenizers.recall(place)
    if found is None:
        whole, agreed = _read(folder, usual)
        with _told_of_damage(f"the tokenizer in {folder}"):
            found = _known_of(whole)
        if agreed and place is not None:  # else it is said each time
            kept_tokenizers.keep(place, found)
    tokenizer = FolderTokenizer(**found, by_transformers=read)
    pieces = tokenizer.backend_tokenizer.get_vocab()
    with _told_of_damage(f"the tokenizer in {folder}"):
        sample = tokenizer.backend_tokenizer.encode("a", "a")
    around = zip(sample.tokens, sample.ids, sample.special_tokens_mask, strict=True)
    for token, number, is_special in around:
        if is_special and pieces.get(token) != number:
            raise UserError(
                f"the tokenizer in {folder} gives {token!r} the number {number}, and its "
                f"vocabulary has {pieces.get(token)}"
            )
    piece = max(pieces, key=pieces.__getitem__)
    if pieces[piece] >= vocabulary:
        raise UserError(
            f"the tokenizer in {folder} has the piece {piece!r} as number {pieces[piece]}, the "
            f"model only {vocabulary} pieces: they do not belong together"
        )
    if 2 * len(pieces) < vocabulary:
        say(
            f"warning: the tokenizer in {folder} has only {len(pieces)} of the model's "
            f"{vocabulary} pieces: its vocabulary may be cut short"
        )
    return tokenizer


def read_tokenizer(folder: Path, usual: str = "BertTokenizer") -> Any:
    """A folder's tokenizer, without the truncation and padding that its file may carry.

    Not by AutoTokenizer, which imports PyTorch where it is installed, and that takes a second.
    Where tokenizer.json or vocab.txt would read texts otherwise than the class does, that is said.

    usual: the class of transformers where no file names one (`Architecture.tokenizer`).

    Raises: UserError if it is missing or damaged, there is no fast tokenizer of its class, two
        pieces have one number, or a special token that its class stands on is no piece.
    """
    return _read(folder, usual)[0]


def _read(folder: Path, usual: str) -> tuple[Any, bool]:
    """The same, and whether its files agree."""
    settings = _settings(folder, "tokenizer_config.json")
    kind = _class(folder, settings, usual)
    _check_own(folder, settings)
    _check_files(folder, kind)
    with _told_of_damage(f"the tokenizer in {folder}"):
        tokenizer = _plain(kind.from_pretrained(folder, local_files_only=True))
        tokenizer.backend_tokenizer.encode(SAMPLE)  # of which it may know no piece
        whole = _whole(folder / "tokenizer.json")
    _check_pieces(folder, tokenizer.get_vocab(), whole)
    _check_special(folder, kind, tokenizer, _written(folder, settings, whole))
    return tokenizer, whole is None or not _tell_contradictions(folder, kind, tokenizer, whole)


def _known_of(tokenizer: Any) -> dict[str, Any]:
    """What is asked of a tokenizer of transformers', for a `FolderTokenizer`."""
    backend = tokenizer.backend_tokenizer
    pieces = backend.get_vocab()
    trial = [sorted(pieces.items()), *(backend.encode(text).ids for text in _samples(pieces))]
    plain = ("truncation_side", "mask_token_id", "unk_token_id", "eos_token_id")
    return {
        "backend_tokenizer": backend,
        "model_input_names": tuple(tokenizer.model_input_names),
        "digest": digest([json.dumps(trial).encode()]),
        **{name: getattr(tokenizer, name) for name in plain},
    }


def _samples(pieces: Iterable[str]) -> tuple[str, str, str]:
    words = sorted(piece for piece in pieces if piece.isalpha())[:WORDS]
    return SAMPLE, " ".join(words), " ".join(words).upper()


def _plain(tokenizer: Any) -> Any:
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _whole(file: Path) -> Any:
    """What tokenizer.json itself says, of which a class takes a part; None without such a file."""
    from tokenizers import Tokenizer

    if not file.is_file():
        return None
    whole = Tokenizer.from_file(str(file))
    whole.no_truncation()
    whole.no_padding()
    return whole


@contextlib.contextmanager
def _told_of_damage(what: str) -> Iterator[None]:
    """Raises: UserError for whatever is raised inside."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, UserError):
        raise
    except BaseException as error:  # the Rust parser raises bare exceptions, and panics
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what} cannot be read ({reason})") from error


def _settings(folder: Path, name: str) -> dict[str, Any]:
    """A description in the folder, empty if there is none."""
    return json_files.read(folder / name) if (folder / name).is_file() else {}


def _class(folder: Path, settings: dict[str, Any], usual: str) -> Any:
    """The class of transformers that the folder's files name, or else the usual one."""
    named = settings.get("tokenizer_class")
    named = named or _settings(folder, "config.json").get("tokenizer_class")
    is_usual = named is None or usual == GENERIC
    name = usual if is_usual else json_files.check(named, str, f"{folder}: tokenizer_class")
    import transformers

    kind = getattr(transformers, name, None) or getattr(
        transformers, name.removesuffix("Fast"), transformers.TokenizersBackend
    )
    if not (isinstance(kind, type) and issubclass(kind, transformers.TokenizersBackend)):
        raise UserError(f"the tokenizer in {folder}, {name}, has no fast version")
    return kind


def _check_own(folder: Path, settings: dict[str, Any]) -> None:
    """Raises: UserError if the settings bring pieces, or name a file of them, which may be any."""
    for name in ("vocab", "merges"):
        if settings.get(name) is not None:
            raise UserError(
                f"{folder / 'tokenizer_config.json'} says {name} is {shown(settings[name])}: "
                "a tokenizer is read from the files of its own folder; take that out"
            )


def _check_files(folder: Path, kind: Any) -> None:
    """Raises: UserError if there is nothing that a tokenizer of this class is read from."""
    if (folder / "tokenizer.json").is_file():
        return
    names = [name for key, name in kind.vocab_files_names.items() if key != "tokenizer_file"]
    if kind.__name__ == GENERIC or not all((folder / name).is_file() for name in names):
        others = "" if kind.__name__ == GENERIC else f", nor {' and '.join(names)}"
        raise UserError(
            f"{folder} holds no tokenizer: there is no tokenizer.json{others} (for {kind.__name__})"
        )
    model = next((name for name in names if name.endswith(".model")), None)
    if model and importlib.util.find_spec("sentencepiece") is None:
        raise UserError(
            f"{folder} holds its tokenizer as {model} alone, which needs sentencepiece: "
            "run `pip install sentencepiece`, or add its tokenizer.json"
        )


def _check_pieces(folder: Path, pieces: dict[str, int], whole: Any) -> None:
    """Raises: UserError if there are none, or a piece or a number stands twice."""
    if not pieces:
        raise UserError(f"the tokenizer in {folder} has no word pieces")
    number, times = collections.Counter(pieces.values()).most_common(1)[0]
    if times > 1:
        first, second = [piece for piece in pieces if pieces[piece] == number][:2]
        raise UserError(
            f"the tokenizer in {folder} has two pieces of number {number}, {first!r} and {second!r}"
        )
    if whole is not None:  # then nothing else is read
        return
    for piece, times in collections.Counter(_lines(folder)).most_common(1):
        if times > 1:
            raise UserError(f"{folder / 'vocab.txt'} has the piece {piece!r} {times} times")
    for piece, number in _settings(folder, "added_tokens.json").items():
        if pieces.get(piece) != number:
            raise UserError(
                f"{folder / 'added_tokens.json'} says that {piece!r} is number {shown(number)}, "
                f"where {pieces.get(piece)} is free"
            )


def _check_special(folder: Path, kind: Any, tokenizer: Any, written: set[str] | None) -> None:
    """Raises: UserError if a special token that its class stands on is in none of its files.

    transformers would give it the next free number, of which the model has learnt nothing.

    written: the pieces that the files name; None where they are not text (SentencePiece).
    """
    parameters = inspect.signature(kind).parameters
    for name, words in SPECIAL.items():
        usual = parameters[name].default if name in parameters else None
        token = getattr(tokenizer, name)
        if token is None and not isinstance(usual, str):
            continue  # a decoder has no mask token
        if token is None or (written is not None and token not in written):
            raise UserError(
                f"the tokenizer in {folder} has no {words}: {token or usual} is no piece of its "
                f"vocabulary; say in tokenizer_config.json which piece is its {name}"
            )


def _written(folder: Path, settings: dict[str, Any], whole: Any) -> set[str] | None:
    """The pieces that a folder's files name; None if its vocabulary is not text."""
    if whole is not None:
        return set(whole.get_vocab(with_added_tokens=True))
    if not any(os.path.isfile(folder / name) for name in ("vocab.txt", "vocab.json")):
        return None
    vocabulary = {*_lines(folder), *_settings(folder, "vocab.json")}
    added = settings.get("added_tokens_decoder") or {}
    decoded = {token["content"] for token in added.values()}  # as transformers has read it, too
    return vocabulary | {*_settings(folder, "added_tokens.json"), *decoded}


def _lines(folder: Path) -> list[str]:
    """Those of vocab.txt that are not empty, of which each is a piece; none if there is none."""
    file = folder / "vocab.txt"
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no UTF-8 text ({error})") from error
    return [line for line in text.split("\n") if line]


def _tell_contradictions(folder: Path, kind: Any, tokenizer: Any, whole: Any) -> bool:
    """Say where a file would have read texts otherwise, if one would have."""
    pieces = tokenizer.get_vocab()
    other = next((line for line in _lines(folder) if line not in pieces), None)
    if other is not None:
        say(
            f"warning: vocab.txt in {folder} has the piece {other!r} and tokenizer.json has not: "
            "tokenizer.json is used"
        )
    with _told_of_damage(f"the tokenizer in {folder}"):
        backends = (whole, tokenizer.backend_tokenizer)
        read = [[backend.encode(text).ids for text in _samples(pieces)] for backend in backends]
    if read[0] != read[1]:
        say(
            f"warning: {kind.__name__} reads texts otherwise than tokenizer.json in {folder}, and "
            "is used: to go by that file, let tokenizer_config.json say "
            f'"tokenizer_class": "{GENERIC}"'
        )
    return other is not None or read[0] != read[1]
