"""Attention as attribution: how much of it a position receives."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def received_attention(
    weights: Float[Array, "B H T T"], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "B T"]:
    """mean_q max_h A[h, q, t]: the largest weight of any head, averaged over valid queries q.

    weights: rows are queries and sum to one. Values lie in [0, 1], 0 where not valid.
    """
    strongest = jnp.max(weights, axis=1)
    queries = valid[:, :, None]
    received = jnp.sum(jnp.where(queries, strongest, 0.0), axis=1) / jnp.sum(queries, axis=1)
    return jnp.where(valid, received, 0.0)


def received_by_block(
    weights: Sequence[Float[Array, "B H T T"]], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "N B T"]:
    """The same of every one of N blocks, as `Model.attention` gives their weights."""
    return jnp.stack([received_attention(block, valid) for block in weights])


def received_of_all(
    weights: Sequence[Float[Array, "B H T T"]], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "B T"]:
    """Its mean over all blocks."""
    return jnp.mean(received_by_block(weights, valid), axis=0)
