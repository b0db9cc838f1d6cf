"""Gradient times input: the first-order effect of removing a position (Denil et al. 2014)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffmask_jax.attribution.integrated_gradients import Score


def gradient_times_input(
    score: Score, state: Float[Array, "B T D"], valid: Bool[Array, "B T"]
) -> Float[Array, "B T"]:
    """Σ_d h_d · ∂score(h)/∂h_d, signed: exact for a score that is linear in the state.

    It takes one backward pass; the attribution of a position is the absolute value.
    """
    gradient = jax.grad(lambda h: jnp.sum(score(h)))(state)
    return jnp.where(valid, jnp.sum(state * gradient, axis=-1), 0.0)
