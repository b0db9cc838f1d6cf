"""A cache of tokenizers beside compiled programs, since importing transformers takes a second.

Its keys are the contents of every file that a tokenizer may be read from, and the versions of the
libraries that read it. A file that is damaged, or cannot be written, costs time only.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from diffmask_jax.models.huggingface.tokenizer_checks import SAMPLE, SPACED
from diffmask_jax.runtime import compile_cache
from diffmask_jax.runtime.files import write_atomically

FILES = (
    *("config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model"),
)
"""Every file that a tokenizer may be read from."""

Known = dict[str, Any]
"""The fields of a `tokenizers.FolderTokenizer`, by name."""

COPIED = ("truncation_side", "mask_token_id", "unk_token_id", "eos_token_id")
"""Those that are attributes of transformers' tokenizers as well."""

PLAIN = (*COPIED, "digest")
"""Those that JSON can represent as they are."""


def place_of(folder: Path, usual: str) -> Path | None:
    """Where a folder's tokenizer is kept; None if nothing is cached on this machine.

    usual: the class in transformers if no file names one
    """
    kept = compile_cache.folder()
    if kept is None:
        return None
    digest = hashlib.sha256(f"{usual} {SAMPLE} {SPACED}".encode())  # what was tried on it, too
    for package in ("transformers", "tokenizers"):
        digest.update(importlib.metadata.version(package).encode())
    try:
        for path in sorted({path for name in FILES for path in folder.glob(name)}):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)} ".encode() + content)
    except OSError:  # reported when the tokenizer itself is read
        return None
    return kept / "tokenizers" / f"{digest.hexdigest()[:32]}.json"


def keep(place: Path, known: Known) -> None:
    """Write a tokenizer for `recall`, perhaps by another process."""
    backend = known["backend_tokenizer"]
    try:
        told = known | {
            "backend_tokenizer": backend.to_str(),
            "encode_special_tokens": backend.encode_special_tokens,  # not part of its JSON
        }
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, json.dumps(told))
    except Exception:  # a tokenizer that cannot be serialised, or a folder that cannot be written
        return


def recall(place: Path) -> Known | None:
    """The tokenizer that was kept; None if there is none, or its file is damaged."""
    from tokenizers import Tokenizer

    try:
        told = json.loads(place.read_bytes())
        backend = Tokenizer.from_str(told["backend_tokenizer"])
        backend.encode_special_tokens = told["encode_special_tokens"]
        names = tuple(told["model_input_names"])
        plain = {name: told[name] for name in PLAIN}
    except Exception:  # the Rust library raises bare exceptions
        return None
    return {"backend_tokenizer": backend, "model_input_names": names, **plain}
