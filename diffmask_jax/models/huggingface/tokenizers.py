"""A folder's tokenizer, by transformers' fast tokenizers, without PyTorch and without network."""

import importlib.util
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface.description import read_json

GENERIC = "TokenizersBackend"
"""The class that reads any tokenizer.json."""


def read_tokenizer_of(folder: Path, vocabulary: int, usual: str) -> Any:
    """The tokenizer of a model that knows so many word pieces.

    usual: as of `read_tokenizer`.

    Raises: UserError if it is missing or damaged, or has more pieces than the model.
    """
    tokenizer = read_tokenizer(folder, usual)
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} pieces, the model only "
            f"{vocabulary}: they do not belong together"
        )
    return tokenizer


def read_tokenizer(folder: Path, usual: str = "BertTokenizer") -> Any:
    """A folder's tokenizer, without the truncation and padding that its file may carry.

    Not by AutoTokenizer, which imports PyTorch where it is installed, and that takes a second.

    usual: the class of transformers where no file names one (`Architecture.tokenizer`).

    Raises: UserError if it is missing or damaged, or there is no fast tokenizer of its class.
    """
    kind = _class(folder, usual)
    _check_files(folder, kind)
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust parser raises bare exceptions
        reason = " ".join(str(error).split())
        raise UserError(f"the tokenizer in {folder} cannot be read ({reason})") from error
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _class(folder: Path, usual: str) -> Any:
    """The class of transformers that the folder's files name, or else the usual one."""
    settings, described = (
        read_json(folder / name) if (folder / name).is_file() else {}
        for name in ("tokenizer_config.json", "config.json")
    )
    named = settings.get("tokenizer_class") or described.get("tokenizer_class")
    is_known = named is None or usual == GENERIC
    name = str(usual if is_known else named)
    import transformers

    kind = getattr(transformers, name, None) or getattr(
        transformers, name.removesuffix("Fast"), transformers.TokenizersBackend
    )
    if not (isinstance(kind, type) and issubclass(kind, transformers.TokenizersBackend)):
        raise UserError(f"the tokenizer in {folder}, {name}, has no fast version")
    return kind


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
