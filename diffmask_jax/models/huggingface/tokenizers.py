"""A folder's tokenizer, read by transformers' fast tokenizers, without PyTorch or network.

What an earlier process read is recalled even without transformers (`kept_tokenizers`).
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.data.wordpieces import SEGMENTS
from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface import kept_tokenizers
from diffmask_jax.models.huggingface.description import Description
from diffmask_jax.models.huggingface.tokenizer_checks import (
    GENERIC,
    INPUT_NAMES,
    SAMPLE,
    check_files,
    check_known,
    check_own,
    check_pieces,
    check_special,
    samples,
    settings_in,
    tell_contradictions,
    told_of_damage,
)
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.settings import digest


class FolderTokenizer(NamedTuple):
    """A folder's tokenizer, whether transformers has read it now or before.

    backend_tokenizer: the tokenizers library's object, which neither truncates nor pads
    model_input_names, truncation_side: as in `wordpieces.Tokenizer`
    mask_token_id, unk_token_id, eos_token_id: pieces, None if there is no such piece
    digest: identifies the tokenizer, by its word pieces and its encodings of some texts
    by_transformers: returns the same tokenizer as transformers' class
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
        """Write the tokenizer's files as transformers does; and, if that is not as by its class,
        whether it feeds segments."""
        tokenizer = self.by_transformers()
        if tuple(tokenizer.model_input_names) != self.model_input_names:
            # The setting is written if it is among these, with the value of the attribute.
            tokenizer.init_kwargs[INPUT_NAMES] = None
            tokenizer.model_input_names = list(self.model_input_names)
        tokenizer.save_pretrained(folder)


def read_tokenizer_of(folder: Path, vocabulary: int, usual: str) -> FolderTokenizer:
    """The tokenizer of a model with a vocabulary of this size.

    usual: as in `read_tokenizer`

    Raises: UserError as `read_tokenizer` does, or if it has a piece that the model does not know.
    """
    read = functools.partial(read_tokenizer, folder, usual)
    place = kept_tokenizers.place_of(folder, usual)
    found = None if place is None else kept_tokenizers.recall(place)
    if found is None:
        whole, agreed = _read(folder, usual)
        with told_of_damage(f"the tokenizer in {folder}"):
            found = _known_of(whole)
        if agreed and place is not None:  # otherwise the warning is repeated each time
            kept_tokenizers.keep(place, found)
    tokenizer = FolderTokenizer(**found, by_transformers=read)
    check_known(folder, tokenizer.backend_tokenizer, vocabulary)
    return tokenizer


WITHOUT_SEGMENTS = {
    f"{name}Tokenizer"
    for name in ("DistilBert", "MPNet", "Roberta", "XLMRoberta", "Camembert", "GPT2", "Bart")
}
"""The classes that fed no segments before version 5 of transformers either."""


def with_segments(
    tokenizer: FolderTokenizer, folder: Path, description: Description, segments: int, usual: str
) -> FolderTokenizer:
    """The tokenizer that feeds segments to a model as it did when the model was saved.

    Since version 5 of transformers some tokenizers, such as ALBERT's and those without a class of
    their own, keep segments to themselves unless tokenizer_config.json says otherwise. Before, only
    some did (`WITHOUT_SEGMENTS`).

    description: the model's config.json, which names the version
    segments: how many kinds of them the model knows
    usual: as in `read_tokenizer`
    """
    names = tokenizer.model_input_names
    if segments < 2 or SEGMENTS in names:
        return tokenizer
    version = str(description.get("transformers_version", "4")).partition(".")[0]
    is_new = version.isdecimal() and int(version) >= 5
    settings = settings_in(folder, "tokenizer_config.json")
    kind = _class_name(folder, settings, description, usual).removesuffix("Fast")
    if is_new or INPUT_NAMES in settings or kind in WITHOUT_SEGMENTS:
        return tokenizer
    told = digest([tokenizer.digest.encode(), SEGMENTS.encode()])
    return tokenizer._replace(model_input_names=(*names, SEGMENTS), digest=told)


def without_segments(tokenizer: FolderTokenizer) -> FolderTokenizer:
    """The same tokenizer, which feeds none, and is saved as such."""
    if SEGMENTS not in tokenizer.model_input_names:
        return tokenizer
    names = tuple(name for name in tokenizer.model_input_names if name != SEGMENTS)
    told = digest([tokenizer.digest.encode(), b"without", SEGMENTS.encode()])
    return tokenizer._replace(model_input_names=names, digest=told)


def read_tokenizer(folder: Path, usual: str = "BertTokenizer") -> Any:
    """A folder's tokenizer, without the truncation and padding that its file may prescribe.

    AutoTokenizer would import PyTorch if it is installed, which takes a second. If tokenizer.json
    or vocab.txt would read texts differently from the class, a warning says so.

    usual: the class in transformers if no file names one (`Architecture.tokenizer`)

    Raises: UserError if it is missing or damaged, there is no fast tokenizer of its class, two
        pieces have one number, or a special token that its class needs is missing.
    """
    return _read(folder, usual)[0]


def _read(folder: Path, usual: str) -> tuple[Any, bool]:
    """The tokenizer, and whether its files agree."""
    settings = settings_in(folder, "tokenizer_config.json")
    kind = _class(folder, settings, usual)
    check_own(folder, settings)
    check_files(folder, kind)
    with told_of_damage(f"the tokenizer in {folder}"):
        tokenizer = _plain(kind.from_pretrained(folder, local_files_only=True))
        tokenizer.backend_tokenizer.encode(SAMPLE)  # fails if a tokenizer does not know its pieces
        whole = _whole(folder / "tokenizer.json")
    check_pieces(folder, tokenizer.get_vocab(), whole)
    check_special(folder, kind, tokenizer, settings, whole)
    return tokenizer, whole is None or not tell_contradictions(folder, kind, tokenizer, whole)


def _known_of(tokenizer: Any) -> dict[str, Any]:
    """The fields of a `FolderTokenizer`, from a tokenizer of transformers'."""
    backend = tokenizer.backend_tokenizer
    pieces = backend.get_vocab()
    trial = [sorted(pieces.items()), *(backend.encode(text).ids for text in samples(pieces))]
    return {
        "backend_tokenizer": backend,
        "model_input_names": tuple(tokenizer.model_input_names),
        "digest": digest([json.dumps(trial).encode()]),
        **{name: getattr(tokenizer, name) for name in kept_tokenizers.COPIED},
    }


def _plain(tokenizer: Any) -> Any:
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _whole(file: Path) -> Any:
    """tokenizer.json as a whole, of which a class may use only parts; None without such a file."""
    from tokenizers import Tokenizer

    if not file.is_file():
        return None
    whole = Tokenizer.from_file(str(file))
    whole.no_truncation()
    whole.no_padding()
    return whole


def _class(folder: Path, settings: dict[str, Any], usual: str) -> Any:
    """The class in transformers that the folder's files name, or else the usual one."""
    name = _class_name(folder, settings, settings_in(folder, "config.json"), usual)
    import transformers

    kind = getattr(transformers, name, None) or getattr(
        transformers, name.removesuffix("Fast"), transformers.TokenizersBackend
    )
    if not (isinstance(kind, type) and issubclass(kind, transformers.TokenizersBackend)):
        raise UserError(f"the tokenizer in {folder}, {name}, has no fast version")
    return kind


def _class_name(
    folder: Path, settings: dict[str, Any], description: Description, usual: str
) -> str:
    named = settings.get("tokenizer_class") or description.get("tokenizer_class")
    is_usual = named is None or usual == GENERIC
    name: str = usual if is_usual else json_files.check(named, str, f"{folder}: tokenizer_class")
    return name
