"""The dual player: how λ follows the divergence, one λ per layer, always in [0, 200].

Both of its forms are optax transformations of a pair of λs. The gradient is −(D − m), in nats, and
exactly 0 for a layer that the batch did not play: its λ and optimiser state then stay as they are.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffmask_jax.game.optimizers import lookahead, standing_still, staying

LARGEST = 200.0
SMALLEST = 0.002  # the least λ·m under control, from which log λ can still recover


def project(multipliers: optax.LookaheadParams) -> optax.LookaheadParams:
    """The nearest multipliers in [0, 200]."""
    return jax.tree.map(lambda m: jnp.clip(m, 0.0, LARGEST), multipliers)


def ascend(rate: float) -> optax.GradientTransformation:
    """The authors' form: Lookahead(k = 6, α = ½) over RMSprop, λ += rate·(D − m)/√(running mean of
    its square)."""
    scale = standing_still(optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False))
    # The identity has no part in it but in checkpoints of older versions, whose states had three.
    fast = optax.chain(scale, optax.scale_by_learning_rate(rate), optax.identity())
    return staying(lookahead(fast))


class Control(NamedTuple):
    """log λ̄, the running mean of the excess, and the sum of that mean's weights."""

    log: Float[Array, " L"]
    excess: Float[Array, " L"]
    weight: Float[Array, " L"]


def control(
    margin: float, integral: float = 0.001, proportional: float = 1.0, memory: float = 0.9
) -> optax.GradientTransformation:
    """A PI controller in log λ (Stooke et al. 2020; Sohrabi et al. 2024), one per layer.

    e = (D − m)/m, ê its running mean clipped to [−1, 1];
    log λ̄ += integral·ê  and  λ = λ̄·exp(proportional·ê).

    Without the proportional part it is gradient ascent in log λ. That part damps: λ answers an
    excess before its integral has grown, and falls back as soon as the excess is gone. The
    controller does not depend on the scale of λ, nor on that of single divergences, by which
    RMSprop divides, nor on the unit of D: c·D against c·m moves λ/c as D against m moves λ (up to
    λ = 200).
    """
    smallest = math.log(min(SMALLEST / margin, LARGEST))

    def init(multipliers: optax.LookaheadParams) -> Control:
        none = jnp.zeros_like(multipliers.fast)  # copied below, since donated buffers must differ
        return Control(jnp.log(multipliers.fast), none, jnp.copy(none))

    def update(
        gradient: Float[Array, " L"], state: Control, multipliers: optax.LookaheadParams | None
    ) -> tuple[optax.LookaheadParams, Control]:
        played = gradient != 0

        def followed(mean: Array, value: Array | float) -> Array:
            return jnp.where(played, memory * mean + (1 - memory) * value, mean)

        excess = followed(state.excess, -gradient / margin)
        weight = followed(state.weight, 1.0)
        error = jnp.clip(excess / jnp.maximum(weight, 1e-6), -1.0, 1.0)
        log = state.log + jnp.where(played, integral * error, 0.0)
        log = jnp.clip(log, smallest, math.log(LARGEST))
        wanted = jnp.exp(log + proportional * error)
        return jax.tree.map(lambda now: wanted - now, multipliers), Control(log, excess, weight)

    return optax.GradientTransformation(init, update)
