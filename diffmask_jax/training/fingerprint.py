"""What a run was made with: its model and its texts, told apart from others by digests.

Every number of every tensor counts, whatever file it came from: a model that was moved, sharded or
saved in another format is the same one. A tensor's digest is its CRC-32: 0.15 s of one core for a
BERT-base, where SHA-256 takes 0.3 to 1. It is no guard against forgery. Their places, PyTorch's
names, count by themselves, for two of one shape may have changed theirs. The names of the outputs
do not, for they may be made more readable.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.huggingface.weights import tensor_names
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.messages import say
from diffmask_jax.tasks.task import Examples

FILE = "fingerprint.json"
PLACES = "places of the weights"  # older versions did not keep it

Fingerprint = Mapping[str, Any]
"""What counts, by its name: weights, tokenizer, train texts, and the sizes in config.json."""


def of_model(model: Classifier) -> dict[str, Any]:
    """The fingerprint of a network: its weights, its tokenizer and what config.json says of it."""
    arrays = map(np.ascontiguousarray, jax.device_get(jax.tree.leaves(model.params)))
    weights = [f"{array.shape} {zlib.crc32(array.data)}" for array in arrays]
    names = tensor_names(model.params, model.architecture.name(model.config))
    placed = map(" ".join, zip(names, weights, strict=True))
    described = model.architecture.describe(model.config)
    return {
        **json.loads(json.dumps(described)),  # as it will be read: tuples are lists
        "problem_type": model.head.problem_type,
        "weights": settings.digest(map(str.encode, sorted(weights))),
        PLACES: settings.digest(map(str.encode, sorted(placed))),
        "tokenizer": model.tokenizer.digest,
    }


def of_texts(**splits: Examples) -> dict[str, Any]:
    """The fingerprint of texts, by the names of their splits; labels do not count."""
    return {
        f"{name} texts": settings.digest(json.dumps(text).encode() for text in examples.texts)
        for name, examples in splits.items()
    }


def differing(made_with: Fingerprint, found: Fingerprint) -> list[str]:
    """What of two fingerprints is not the same, of what both of them have."""
    names = [name for name in found if name in made_with and made_with[name] != found[name]]
    return [name for name in names if name != PLACES or "weights" not in names]


def keep(folder: Path, found: Fingerprint) -> None:
    """Let a run remember what it is made with."""
    settings.write(folder / FILE, dict(found))


def check(folder: Path, found: Fingerprint, anyway: bool = False) -> None:
    """Hold what is found against what the run in a folder was made with.

    A run of an older version, which remembers nothing, is taken as it is.

    anyway: say what differs, and go on.

    Raises: UserError if something differs, or what the run remembers is damaged.
    """
    if others := differing(settings.read(folder / FILE) or {}, found):
        told = f"{folder} was made with other {', '.join(others)}"
        if not anyway:
            raise UserError(f"{told}: bring those back, train anew, or go on by --anyway")
        say(f"warning: {told}")
