"""How close learned sets of kept tokens come to the optima of an exact search (paper, Table 2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Overlap(NamedTuple):
    """A set against an optimum, each in [0, 1].

    precision: |set ∩ optimum| / |set|;  recall: |set ∩ optimum| / |optimum|;  f1: their harmonic
    mean. All are 1 if both sets are empty, and 0 if only one is.
    """

    precision: float
    recall: float
    f1: float


def overlap_with_first(kept: Bool[np.ndarray, " T"], optima: Bool[np.ndarray, "K T"]) -> Overlap:
    """Overlap with the first of the optima, the one of the smallest divergence."""
    return Overlap(*_overlaps(kept, optima[:1])[0].tolist())


def overlap_with_nearest(kept: Bool[np.ndarray, " T"], optima: Bool[np.ndarray, "K T"]) -> Overlap:
    """Overlap with the nearest of the optima."""
    return overlap_with_first(kept, nearest(kept, optima)[None])


def both_classes(kept: Bool[np.ndarray, " T"], optimum: Bool[np.ndarray, " T"]) -> Overlap:
    """The mean of two overlaps with the optimum: that of the kept and that of the dropped tokens.

    This is what a scorer that averages over classes computes. The paper's F1 looks like such an
    average, since it is below both its precision and its recall.
    """
    pairs = _overlaps(kept, optimum[None]), _overlaps(~kept, ~optimum[None])
    return Overlap(*np.mean(pairs, axis=0)[0].tolist())


def nearest(kept: Bool[np.ndarray, " T"], optima: Bool[np.ndarray, "K T"]) -> np.ndarray:
    """The optimum of the largest F1; of several, the first."""
    return optima[_overlaps(kept, optima)[:, 2].argmax()]


def is_feasible(
    size: Int[np.ndarray, "*B"],
    length: Int[np.ndarray, "*B"],
    divergence: Float[np.ndarray, "*B"],
    margin: float,
) -> Bool[np.ndarray, "*B"]:
    """Whether divergence ≤ margin or all tokens are kept, which is feasible by definition."""
    return (divergence <= margin) | (size == length)


def smallest_feasible(
    candidates: Bool[np.ndarray, "K B T"],
    feasible: Bool[np.ndarray, "K B"],
    divergence: Float[np.ndarray, "K B"],
) -> Int[np.ndarray, " B"]:
    """Which of K sets per example is the smallest feasible one, and the closest of these.

    If none is feasible, the closest of all.
    """
    sizes = np.where(feasible, candidates.sum(-1), candidates.shape[-1] + 1)
    return np.lexsort((divergence, sizes), axis=0)[0]


def _overlaps(kept: Bool[np.ndarray, " T"], optima: Bool[np.ndarray, "K T"]) -> np.ndarray:
    """(K, 3): precision, recall, F1."""
    shared, size, sizes = (kept & optima).sum(-1), kept.sum(), optima.sum(-1)
    empty = np.where((size == 0) & (sizes == 0), 1.0, 0.0)

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(whole > 0, part / np.maximum(whole, 1), empty)

    f1 = share(2 * shared, size + sizes)
    return np.stack([share(shared, np.full_like(sizes, size)), share(shared, sizes), f1], axis=-1)
