"""Tokenizers as they were read before, kept beside compiled programs: transformers, which reads
them, takes a second to be imported.

What is kept goes by the content of every file that a tokenizer may be read from, and by the
versions of the libraries that read it. A file that is damaged, or cannot be written, costs time
only.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from diffmask_jax.runtime import compile_cache
from diffmask_jax.runtime.files import write_atomically

FILES = (
    *("config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model"),
)
"""Every file that a tokenizer may be read from."""

Known = dict[str, Any]
"""What is asked of a tokenizer, by its name (`tokenizers.FolderTokenizer`)."""

PLAIN = ("truncation_side", "mask_token_id", "unk_token_id", "eos_token_id", "digest")


def place_of(folder: Path, usual: str) -> Path | None:
    """Where a folder's tokenizer is kept; None if nothing is kept on this machine.

    usual: the class of transformers where no file names one.
    """
    kept = compile_cache.folder()
    if kept is None:
        return None
    digest = hashlib.sha256(usual.encode())
    for package in ("transformers", "tokenizers"):
        digest.update(importlib.metadata.version(package).encode())
    try:
        for path in sorted({path for name in FILES for path in folder.glob(name)}):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)} ".encode() + content)
    except OSError:  # told by who reads it for good
        return None
    return kept / "tokenizers" / f"{digest.hexdigest()[:32]}.json"


def keep(place: Path, known: Known) -> None:
    """For `recall`, perhaps by another process."""
    backend = known["backend_tokenizer"]
    try:
        told = known | {
            "backend_tokenizer": backend.to_str(),
            "encode_special_tokens": backend.encode_special_tokens,  # not in its own words
        }
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, json.dumps(told))
    except Exception:  # a tokenizer that cannot be told, or a folder that cannot be written
        return


def recall(place: Path) -> Known | None:
    """What was kept; None if nothing was, or it is damaged."""
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
