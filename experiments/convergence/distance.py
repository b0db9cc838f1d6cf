"""The distance of two probes, by what they keep."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis.bootstrap import Interval, mean_interval


def by_layer(
    keep: Float[np.ndarray, "L N"], other: Float[np.ndarray, "L N"]
) -> Float[np.ndarray, " L"]:
    """mean |P(z ≠ 0) − P'(z ≠ 0)| over all tokens, per layer: between 0 and 1.

    Settled gates are nearly all open or closed, so that it is the share of tokens on which the two
    disagree.
    """
    return np.abs(keep.astype(np.float32) - other.astype(np.float32)).mean(axis=1)


def mean(keep: Float[np.ndarray, "L N"], other: Float[np.ndarray, "L N"]) -> float:
    """The mean of `by_layer` over all layers."""
    return float(by_layer(keep, other).mean())


def between(probes: Sequence[Float[np.ndarray, "L N"]]) -> Float[np.ndarray, " L"]:
    """The mean of `by_layer` over every two of some probes."""
    return _apart(probes).mean(axis=1)


def ratio(
    some: Sequence[Float[np.ndarray, "L N"]],
    others: Sequence[Float[np.ndarray, "L N"]],
    lengths: Sequence[int],
) -> Interval:
    """The mean of `between` of some probes over that of the others.

    lengths: the number of tokens of each text, which is drawn as a whole for the interval
    """
    starts = np.cumsum([0, *lengths[:-1]])
    by_text = (np.add.reduceat(_apart(probes).mean(axis=0), starts) for probes in (some, others))
    return mean_interval(*by_text)


def _apart(probes: Sequence[Float[np.ndarray, "L N"]]) -> Float[np.ndarray, "L N"]:
    """By how much every two of some probes differ, averaged over the pairs."""
    pairs = itertools.combinations([keep.astype(np.float64) for keep in probes], 2)
    found: Float[np.ndarray, "L N"] = np.mean([np.abs(a - b) for a, b in pairs], axis=0)
    return found
