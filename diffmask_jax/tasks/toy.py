"""The toy task's data: are there more n than m among the digits? (paper, section 3.1)"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int

LONGEST = 10


class ToyData(NamedTuple):
    """Examples of the counting task; digits after the end of a sequence are 0 and not valid."""

    query: Int[np.ndarray | Array, "N 2"]
    digits: Int[np.ndarray | Array, "N T"]
    valid: Bool[np.ndarray | Array, "N T"]
    label: Int[np.ndarray | Array, " N"]


def generate(seed: int, examples: int, stream: int = 0) -> ToyData:
    """Draw examples: n ≠ m uniform; each digit is n or m with probability ¼ each, else another.

    The other eight digits share the remaining half; lengths are uniform in 1…10; label #n > #m.
    stream: a second number beside the seed, for independent examples.
    """
    rng = np.random.default_rng((seed, stream) if stream else seed)
    order = np.argsort(rng.random((examples, 10)), axis=1)  # a random permutation of the digits
    # Columns 0 and 1 of the permutation are the query; a draw below 0.25 picks n, below 0.5 m.
    draw = rng.random((examples, LONGEST))
    column = np.where(draw < 0.25, 0, np.where(draw < 0.5, 1, 2 + (draw - 0.5) // 0.0625))
    digits = np.take_along_axis(order, column.astype(np.int64), axis=1)
    valid = np.arange(LONGEST) < rng.integers(1, LONGEST + 1, size=(examples, 1))
    counts = [np.sum((column == c) & valid, axis=1) for c in (0, 1)]
    return ToyData(
        query=order[:, :2].astype(np.int32),
        digits=np.where(valid, digits, 0).astype(np.int32),
        valid=valid,
        label=(counts[0] > counts[1]).astype(np.int32),
    )


def in_query(data: ToyData) -> Bool[np.ndarray, "N T"]:
    """The valid positions of n and m: the ground truth of what must be kept."""
    return data.valid & np.any(data.digits[:, :, None] == data.query[:, None, :], axis=-1)
