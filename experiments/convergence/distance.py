"""How far two probes are apart: by what they keep."""

import numpy as np
from jaxtyping import Float


def by_layer(
    keep: Float[np.ndarray, "L N"], other: Float[np.ndarray, "L N"]
) -> Float[np.ndarray, " L"]:
    """mean |P(z ≠ 0) − P'(z ≠ 0)| over all tokens, a layer: between 0 and 1.

    Gates that have settled are nearly all open or shut, so that it is the share of tokens decided
    otherwise.
    """
    return np.abs(keep.astype(np.float32) - other.astype(np.float32)).mean(axis=1)


def mean(keep: Float[np.ndarray, "L N"], other: Float[np.ndarray, "L N"]) -> float:
    """Its mean over all layers."""
    return float(by_layer(keep, other).mean())
