"""The identity of a run's model and texts, by digests.

Every number of every tensor counts, whatever file it came from: a model that was moved, sharded or
saved in another format is the same. A tensor's digest is its CRC-32, which takes 0.15 s on one core
for a BERT-base, where SHA-256 takes 0.3 to 1 s; it does not guard against forgery. The places of
the tensors (PyTorch's names) have a digest of their own, since two of one shape may be swapped. The
names of the outputs do not count, since they may be changed to more readable ones.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.huggingface.weights import tensor_names
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.messages import say
from diffmask_jax.tasks.task import Examples

FILE = "fingerprint.json"
PLACES = "places of the weights"  # missing in folders of older versions

Fingerprint = Mapping[str, Any]
"""Digests and values by name: weights, tokenizer, texts, pieces, and sizes as in config.json."""


def of_model(model: Classifier) -> dict[str, Any]:
    """The fingerprint of a network: its weights, its tokenizer and its config.json."""
    arrays = map(np.ascontiguousarray, jax.device_get(jax.tree.leaves(model.params)))
    weights = [f"{array.shape} {zlib.crc32(array.data)}" for array in arrays]
    names = tensor_names(model.params, model.architecture.name(model.config))
    placed = map(" ".join, zip(names, weights, strict=True))
    described = model.architecture.describe(model.config)
    return {
        **json.loads(json.dumps(described)),  # as it will be read back, with lists for tuples
        "problem_type": model.head.problem_type,
        "weights": settings.digest(map(str.encode, sorted(weights))),
        PLACES: settings.digest(map(str.encode, sorted(placed))),
        "tokenizer": model.tokenizer.digest,
    }


def of_texts(**splits: Examples) -> dict[str, Any]:
    """The fingerprint of texts by the names of their splits; labels do not count."""
    digests = {
        f"{name} texts": settings.digest(json.dumps(text).encode() for text in examples.texts)
        for name, examples in splits.items()
    }
    are_pairs = {f"{name} pairs": examples.second is not None for name, examples in splits.items()}
    return digests | are_pairs


def pairs_in(folder: Path) -> bool | None:
    """Whether a run was trained on pairs of texts; None in folders of older versions."""
    told = (settings.read(folder / FILE) or {}).get("train pairs")
    return told if isinstance(told, bool) else None


def of_pieces(**splits: Sequence[Encoded]) -> dict[str, Any]:
    """The fingerprint of texts as the model reads them, some perhaps truncated or left out."""
    return {f"{name} pieces": settings.digest(ids_of(texts)) for name, texts in splits.items()}


def ids_of(texts: Sequence[Encoded]) -> Iterator[bytes]:
    """What a digest reads of each text: the numbers of its pieces, and where they end."""
    return (text.ids.astype(np.int64).tobytes() + b"|" for text in texts)


def differing(made_with: Fingerprint, found: Fingerprint) -> list[str]:
    """The names that two fingerprints have in common and whose values differ.

    Without those that differ because others do: places with the weights, pieces and pairs with the
    texts.
    """
    names = [name for name in found if name in made_with and made_with[name] != found[name]]
    return [name for name in names if not _causes(name) & set(names)]


def _causes(name: str) -> set[str]:
    if name == PLACES:
        return {"weights"}
    split, _, what = name.rpartition(" ")
    return {"tokenizer", f"{split} texts"} if what in ("pieces", "pairs") else set()


def keep(folder: Path, found: Fingerprint) -> None:
    """Write a fingerprint into a folder."""
    settings.write(folder / FILE, dict(found))


def check(folder: Path, found: Fingerprint, anyway: bool = False) -> None:
    """Compare a fingerprint with the one in a folder.

    The folder of an older version, which has none, is accepted.

    anyway: only warn about differences

    Raises: UserError if something differs, or if the folder's fingerprint is damaged.
    """
    if others := differing(settings.read(folder / FILE) or {}, found):
        told = f"{folder} was made with other {', '.join(others)}"
        if not anyway:
            raise UserError(f"{told}: restore those, retrain, or pass --anyway to continue")
        say(f"warning: {told}")
