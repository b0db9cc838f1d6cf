"""The distance of two probes, by what they keep."""

import numpy as np
from jaxtyping import Float


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
