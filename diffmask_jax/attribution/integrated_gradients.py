"""Integrated gradients of a score with respect to one state (Sundararajan et al. 2017)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Score = Callable[[Float[Array, "B T D"]], Float[Array, " B"]]


class IntegratedGradients(NamedTuple):
    """Signed contributions, and by how much their sum misses the change of the score."""

    contribution: Float[Array, "B T"]
    gap: Float[Array, " B"]


def integrated_gradients(
    score: Score, state: Float[Array, "B T D"], valid: Bool[Array, "B T"], steps: int
) -> IntegratedGradients:
    """Σ_d h_d · ∫₀¹ ∂score(α·h)/∂h_d dα from the zero baseline, by the midpoint rule.

    The attribution of a position is the absolute value of its contribution. The gap is
    |Σ_t contribution_t − (score(h) − score(0))|: by completeness it vanishes as `steps` grow.
    """
    return _along_the_path(score, state, valid, steps, power=1)


def completed(
    score: Score,
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    tolerance: float = 0.01,
    first: int = 50,
    most: int = 1600,
) -> IntegratedGradients:
    """The same integral with as many steps as completeness requires: `first`, doubled until
    gap ≤ tolerance · Σ_t |contribution_t| for every text of the batch, or until `most`.

    By the midpoint rule in u with α = u²: the gradients of a network with layer norms are large
    near the start of the path, where these steps are small.
    """

    def misses(found: IntegratedGradients) -> Bool[Array, ""]:
        return jnp.any(found.gap > tolerance * jnp.sum(jnp.abs(found.contribution), axis=-1))

    def more(tried: tuple[Array, IntegratedGradients]) -> tuple[Array, IntegratedGradients]:
        steps = 2 * tried[0]
        return steps, _along_the_path(score, state, valid, steps, power=2)

    def wanted(tried: tuple[Array, IntegratedGradients]) -> Bool[Array, ""]:
        return (tried[0] < most) & misses(tried[1])

    nothing = jnp.zeros(valid.shape, state.dtype)
    unknown = IntegratedGradients(nothing, jnp.full(len(state), jnp.inf, state.dtype))
    _, found = jax.lax.while_loop(wanted, more, (jnp.asarray(first // 2), unknown))
    return found


def _along_the_path(
    score: Score,
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    steps: int | Int[Array, ""],
    power: int,
) -> IntegratedGradients:
    """The integral by the midpoint rule in u, with α = u^power."""
    state = jnp.where(valid[..., None], state, 0.0)
    gradient = jax.grad(lambda h: jnp.sum(score(h)))

    def add(step: Int[Array, ""], total: Array) -> Array:
        u = (step + 0.5) / steps
        return total + power * u ** (power - 1) / steps * gradient(u**power * state)

    total = jax.lax.fori_loop(0, steps, add, jnp.zeros_like(state))
    contribution = jnp.sum(state * total, axis=-1)
    change = score(state) - score(jnp.zeros_like(state))
    return IntegratedGradients(contribution, jnp.abs(jnp.sum(contribution, axis=-1) - change))
