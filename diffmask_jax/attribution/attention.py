"""Attention as attribution: how much attention a position receives."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def received_attention(
    weights: Float[Array, "B H T T"], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "B T"]:
    """mean_q max_h A[h, q, t]: the largest weight of any head, averaged over valid queries q.

    weights: each row is a query and sums to one. Values lie in [0, 1]; 0 at padding.
    """
    strongest = jnp.max(weights, axis=1)
    queries = valid[:, :, None]
    received = jnp.sum(jnp.where(queries, strongest, 0.0), axis=1) / jnp.sum(queries, axis=1)
    return jnp.where(valid, received, 0.0)


def received_by_block(
    weights: Sequence[Float[Array, "B H T T"]], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "N B T"]:
    """`received_attention` in each of N blocks, from the weights that `Model.attention` returns."""
    return jnp.stack([received_attention(block, valid) for block in weights])


def received_of_all(
    weights: Sequence[Float[Array, "B H T T"]], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "B T"]:
    """The mean of `received_by_block` over all blocks."""
    return jnp.mean(received_by_block(weights, valid), axis=0)
