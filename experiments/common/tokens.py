"""From padded batches to the tokens of a data set, one text after another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffmask_jax.data.batches import Batch
from diffmask_jax.data.wordpieces import Encoded


def joined(texts: Sequence[Encoded], stream: Sequence[Batch], arrays: Sequence[Any]) -> np.ndarray:
    """Batches of (L, B, T) -> (L, all tokens), the texts in order and without padding."""
    found: dict[int, np.ndarray] = {}
    for batch, array in zip(stream, arrays, strict=True):
        for row, index in enumerate(batch.indices):
            found[index] = np.asarray(array)[:, row, : len(texts[index].tokens)]
    return np.concatenate([found[index] for index in range(len(found))], axis=1)
