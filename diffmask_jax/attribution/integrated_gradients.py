"""Integrated gradients of a score with respect to one state (Sundararajan et al. 2017)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Score = Callable[[Float[Array, "B T D"]], Float[Array, " B"]]


class IntegratedGradients(NamedTuple):
    """Signed contributions per position, and how far their sum is from the change they explain."""

    contribution: Float[Array, "B T"]
    gap: Float[Array, " B"]


def integrated_gradients(
    score: Score, state: Float[Array, "B T D"], valid: Bool[Array, "B T"], steps: int
) -> IntegratedGradients:
    """Σ_d h_d · ∫₀¹ ∂score(α·h)/∂h_d dα from the zero baseline, by the midpoint rule.

    The attribution of a position is the contribution's absolute value. gap is
    |Σ_t contribution_t − (score(h) − score(0))|; completeness says that it vanishes with `steps`.
    """
    state = jnp.where(valid[..., None], state, 0.0)
    gradient = jax.grad(lambda h: jnp.sum(score(h)))

    def add(total: Array, alpha: Array) -> tuple[Array, None]:
        return total + gradient(alpha * state), None

    alphas = (jnp.arange(steps) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(state), alphas)
    contribution = jnp.sum(state * total / steps, axis=-1)
    change = score(state) - score(jnp.zeros_like(state))
    return IntegratedGradients(contribution, jnp.abs(jnp.sum(contribution, axis=-1) - change))
