"""Replacing what gates drop, and means that ignore padding."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mask_state(
    state: Float[Array, "B T D"], gate: Float[Array, "B T"], baseline: Float[Array, " D"]
) -> Float[Array, "B T D"]:
    """ĥ = z·h + (1−z)·b (paper, section 2): exactly h where z = 1, exactly b where z = 0."""
    z = gate[..., None].astype(state.dtype)
    return z * state + (1 - z) * baseline.astype(state.dtype)


def mean_over_valid(values: Float[Array, "*b T"], valid: Bool[Array, "*b T"]) -> Float[Array, "*b"]:
    """Mean over the valid positions of each example; zero for an example that has none."""
    count = jnp.sum(valid, axis=-1)
    return jnp.sum(jnp.where(valid, values, 0), axis=-1) / jnp.maximum(count, 1)
