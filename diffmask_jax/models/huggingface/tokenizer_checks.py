"""Checks that a folder's files form one valid tokenizer, and do not contradict each other."""

import collections
import contextlib
import importlib.util
import inspect
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.data.wordpieces import SEGMENTS
from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.json_files import shown
from diffmask_jax.runtime.messages import say

GENERIC = "TokenizersBackend"
"""The class that reads any tokenizer.json."""

INPUT_NAMES = "model_input_names"
"""A setting of tokenizers: what they feed to their model, `SEGMENTS` perhaps."""

SPECIAL = {
    "cls_token": "token before a text",
    "sep_token": "token after a text",
    "mask_token": "mask token",
}
SAMPLE = "Déjà-vu: 3,5% of CAFÉS  (中文)…"
SPACED = "don't 2019\n12\t3.5 a_b"
"""Tried where files may contradict each other; `SAMPLE` is part of what identifies a tokenizer."""
WORDS = 64  # words of a vocabulary to try a tokenizer on


@contextlib.contextmanager
def told_of_damage(what: str) -> Iterator[None]:
    """Raises: UserError in place of whatever is raised inside."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, UserError):
        raise
    except BaseException as error:  # the Rust parser raises bare exceptions, and panics
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what} cannot be read ({reason})") from error


def settings_in(folder: Path, name: str) -> dict[str, Any]:
    """A description in the folder, empty if there is none."""
    return json_files.read(folder / name) if (folder / name).is_file() else {}


def samples(pieces: Iterable[str]) -> tuple[str, str, str]:
    """Texts that show how a tokenizer reads."""
    words = sorted(piece for piece in pieces if piece.isalpha())[:WORDS]
    return SAMPLE, " ".join(words), " ".join(words).upper()


def check_own(folder: Path, settings: dict[str, Any]) -> None:
    """Raises: UserError if the settings contain pieces, or name a file of them."""
    for name in ("vocab", "merges"):
        if settings.get(name) is not None:
            raise UserError(
                f"{folder / 'tokenizer_config.json'} sets {name} to {shown(settings[name])}, but "
                "a tokenizer is read from the files of its own folder: remove that entry"
            )


def check_files(folder: Path, kind: Any) -> None:
    """Raises: UserError if there is no file from which a tokenizer of this class is read."""
    if (folder / "tokenizer.json").is_file():
        return
    names = [name for key, name in kind.vocab_files_names.items() if key != "tokenizer_file"]
    if kind.__name__ == GENERIC or not all((folder / name).is_file() for name in names):
        others = "" if kind.__name__ == GENERIC else f", nor {' and '.join(names)}"
        raise UserError(
            f"{folder} contains no tokenizer: there is no tokenizer.json{others} (for "
            f"{kind.__name__})"
        )
    model = next((name for name in names if name.endswith(".model")), None)
    if model and importlib.util.find_spec("sentencepiece") is None:
        raise UserError(
            f"{folder} has its tokenizer only as {model}, which needs sentencepiece: run `pip "
            "install sentencepiece`, or add its tokenizer.json"
        )


def check_pieces(folder: Path, pieces: dict[str, int], whole: Any) -> None:
    """Raises: UserError if there are no pieces, or a piece or a number occurs twice."""
    if not pieces:
        raise UserError(f"the tokenizer in {folder} has no word pieces")
    number, times = collections.Counter(pieces.values()).most_common(1)[0]
    if times > 1:
        first, second = [piece for piece in pieces if pieces[piece] == number][:2]
        raise UserError(
            f"the tokenizer in {folder} gives two pieces the number {number}, {first!r} and "
            f"{second!r}"
        )
    if whole is not None:  # then nothing else is read
        return
    for piece, times in collections.Counter(_lines(folder)).most_common(1):
        if times > 1:
            raise UserError(f"{folder / 'vocab.txt'} contains the piece {piece!r} {times} times")
    for piece, number in settings_in(folder, "added_tokens.json").items():
        if pieces.get(piece) != number:
            raise UserError(
                f"{folder / 'added_tokens.json'} gives {piece!r} the number {shown(number)}, but "
                f"the next free number is {pieces.get(piece)}"
            )


def check_special(
    folder: Path, kind: Any, tokenizer: Any, settings: dict[str, Any], whole: Any
) -> None:
    """Raises: UserError if a special token that the class needs is in none of the files.

    transformers would give it the next free number, which the model has never been trained on.
    """
    written = _written(folder, settings, whole)
    parameters = inspect.signature(kind).parameters
    for name, words in SPECIAL.items():
        usual = parameters[name].default if name in parameters else None
        token = getattr(tokenizer, name)
        if token is None and not isinstance(usual, str):
            continue  # a decoder has no mask token
        if token is None or (written is not None and token not in written):
            raise UserError(
                f"the tokenizer in {folder} has no {words}: {token or usual} is not in its "
                f"vocabulary; set {name} in tokenizer_config.json"
            )


def check_known(folder: Path, backend: Any, vocabulary: int) -> None:
    """Raises: UserError if a tokenizer has a piece beyond the vocabulary of its model, gives a
        special token another number than its vocabulary, or a segment a number beyond int32.

    A tokenizer with less than half of that vocabulary causes a warning.
    """
    pieces = backend.get_vocab()
    with told_of_damage(f"the tokenizer in {folder}"):
        text, pair = backend.encode("a"), backend.encode("a", "a")
    around = zip(pair.tokens, pair.ids, pair.special_tokens_mask, strict=True)
    for token, number, is_special in around:
        if is_special and pieces.get(token) != number:
            raise UserError(
                f"the tokenizer in {folder} gives {token!r} the number {number}, but its "
                f"vocabulary has {pieces.get(token)}"
            )
    segment = max([*text.type_ids, *pair.type_ids], default=0)
    if segment > np.iinfo(np.int32).max:
        raise UserError(f"the tokenizer in {folder} uses the segment {segment}, which no model has")
    piece = max(pieces, key=pieces.__getitem__)
    if pieces[piece] >= vocabulary:
        raise UserError(
            f"the tokenizer in {folder} gives {piece!r} the number {pieces[piece]}, but the model "
            f"has only {vocabulary} pieces: they do not belong together"
        )
    if 2 * len(pieces) < vocabulary:
        say(
            f"warning: the tokenizer in {folder} has only {len(pieces)} of the model's "
            f"{vocabulary} pieces: its vocabulary may be cut short"
        )


def _written(folder: Path, settings: dict[str, Any], whole: Any) -> set[str] | None:
    """The pieces that a folder's files name; None if they are not text (SentencePiece)."""
    if whole is not None:
        return set(whole.get_vocab(with_added_tokens=True))
    if not any(os.path.isfile(folder / name) for name in ("vocab.txt", "vocab.json")):
        return None
    vocabulary = {*_lines(folder), *settings_in(folder, "vocab.json")}
    # As transformers reads it, which lets the content of a token be missing.
    added = settings.get("added_tokens_decoder") or {}
    decoded = {token.get("content", "") for token in added.values()}
    return vocabulary | {*settings_in(folder, "added_tokens.json"), *decoded}


def _lines(folder: Path) -> list[str]:
    """The lines of vocab.txt that are not empty, each of which is a piece; none without a file."""
    file = folder / "vocab.txt"
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not UTF-8 text ({error})") from error
    return [line for line in text.split("\n") if line]


def tell_contradictions(folder: Path, kind: Any, tokenizer: Any, whole: Any) -> bool:
    """Warn if one of the files would have read texts differently."""
    pieces, names = tokenizer.get_vocab(), list(tokenizer.model_input_names)
    texts = samples(pieces)
    other = next((line for line in _lines(folder) if line not in pieces), None)
    if other is not None:
        say(
            f"warning: vocab.txt in {folder} has the piece {other!r}, which tokenizer.json lacks; "
            "using tokenizer.json"
        )
    with told_of_damage(f"the tokenizer in {folder}"):
        backends = (whole, tokenizer.backend_tokenizer)
        tried = [backend.encode_batch([*texts, SPACED, texts[:2]]) for backend in backends]
        read = [[(of.ids, SEGMENTS in names and of.type_ids) for of in own] for own in tried]
    if read[0] != read[1]:
        fed = f' and "{INPUT_NAMES}" to {json.dumps(names)}' * (SEGMENTS in names)
        say(
            f"warning: {kind.__name__} reads texts differently from tokenizer.json in {folder}; "
            f'using {kind.__name__}: to use that file instead, set "tokenizer_class" to '
            f'"{GENERIC}"{fed} in tokenizer_config.json'
        )
    return other is not None or read[0] != read[1]
