"""The noise that a state tolerates at each position (Guan et al. 2019)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softplus
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.attribution.noise import minimise
from diffmask_jax.game.masking import mean_over_valid


def tolerated_noise(
    key: Key[Array, ""],
    output: Callable[[Float[Array, "B T D"]], Float[Array, " *_"]],
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    steps: int,
    weight: float | Float[Array, " B"] = 1.0,
) -> Float[Array, "B T"]:
    """1/σ of each position after minimising ‖f(h + σ·ε) − f(h)‖² − weight·mean entropy.

    σ = softplus(ς) > 0, ε ~ N(0, 1) drawn anew at every step, ς starts at −5 (almost no noise); the
    entropy of a position's noise is log σ + ½·log 2πe nats. A position that the output depends on
    tolerates little noise, so its attribution 1/σ is large. weight: one for all texts, or each
    text's.
    """
    original = output(state)

    def per_example(spread: Array, key: Array) -> Array:
        sigma = softplus(spread)
        noisy = state + sigma[..., None] * jax.random.normal(key, state.shape, state.dtype)
        change = (output(noisy) - original) ** 2
        entropy = mean_over_valid(jnp.log(sigma) + 0.5 * np.log(2 * np.pi * np.e), valid)
        return jnp.sum(change.reshape(change.shape[0], -1), axis=-1) - weight * entropy

    spread = minimise(key, per_example, jnp.full(valid.shape, -5.0), steps)
    return jnp.where(valid, 1 / softplus(spread), 0.0)
