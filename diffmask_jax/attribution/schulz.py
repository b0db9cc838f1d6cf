"""Restricting the flow: an information bottleneck per example (Schulz et al. 2020)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid, softplus
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.attribution.noise import minimise
from diffmask_jax.game.masking import mean_over_valid


class Statistics(NamedTuple):
    """Mean and standard deviation of a state over a data set's valid positions, per dimension."""

    mean: Float[Array, " D"]
    deviation: Float[Array, " D"]


class Moments(NamedTuple):
    """Running moments of a data set: n, mean, and Σ (h − mean)² per dimension."""

    n: Float[Array, ""]
    mean: Float[Array, " D"]
    squares: Float[Array, " D"]


def moments(state: Float[Array, "N T D"], valid: Bool[Array | np.ndarray, "N T"]) -> Moments:
    """The moments of one batch's valid positions, in float32 whatever the state's type."""
    state = state.astype(jnp.float32)
    n = jnp.sum(valid).astype(state.dtype)
    weight = valid[..., None].astype(state.dtype)
    mean = jnp.sum(weight * state, axis=(0, 1)) / jnp.maximum(n, 1)
    return Moments(n, mean, jnp.sum(weight * (state - mean) ** 2, axis=(0, 1)))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the union of two samples, without cancellation (Chan et al. 1983)."""
    n = a.n + b.n
    share, apart = b.n / jnp.maximum(n, 1), b.mean - a.mean
    squares = a.squares + b.squares + a.n * share * apart**2
    return Moments(n, a.mean + share * apart, squares)


def finish(total: Moments) -> Statistics:
    """Mean and standard deviation, the parameters of the bottleneck's noise."""
    return Statistics(total.mean, jnp.sqrt(total.squares / total.n))


def statistics(state: Float[Array, "N T D"], valid: Bool[Array | np.ndarray, "N T"]) -> Statistics:
    """The statistics of a data set that is one batch."""
    return finish(moments(state, valid))


def information(
    state: Float[Array, "B T D"], logits: Float[Array, "B T"], noise: Statistics
) -> Float[Array, "B T"]:
    """KL(N(a·r, (1−a)²) ‖ N(0, 1)) averaged over dimensions, nats; a = σ(logit), r = (h−μ)/s.

    = ½·[(1−a)² + a²·r² − 1] − log(1−a): the information that passing a share a of the state gives.
    A dimension that is constant over the data, s = 0, such as a unit never active, has r = 0.
    """
    a = sigmoid(logits)[..., None]
    varies = noise.deviation > 0
    r = jnp.where(varies, (state - noise.mean) / jnp.where(varies, noise.deviation, 1), 0)
    kl = 0.5 * ((1 - a) ** 2 + a**2 * r**2 - 1) + softplus(logits)[..., None]
    return jnp.mean(kl, axis=-1)


def restrict_flow(
    key: Key[Array, ""],
    loss: Callable[[Float[Array, "B T D"]], Float[Array, " B"]],
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    noise: Statistics,
    steps: int,
    weight: float = 10.0,
) -> Float[Array, "B T"]:
    """The gate a = σ(logit) of each position after minimising loss(h̃) + weight·mean information.

    h̃ = a·h + (1−a)·ε, ε ~ N(μ, s²) drawn anew at every step; logits start at 5 (open).
    loss: state -> (B,) nats, such as the cross-entropy of the predicted class.
    """

    def per_example(logits: Array, key: Array) -> Array:
        a = sigmoid(logits)[..., None]
        epsilon = noise.mean + noise.deviation * jax.random.normal(key, state.shape, state.dtype)
        cost = mean_over_valid(information(state, logits, noise), valid)
        return loss(a * state + (1 - a) * epsilon) + weight * cost

    logits = minimise(key, per_example, jnp.full(valid.shape, 5.0), steps)
    return jnp.where(valid, sigmoid(logits), 0.0)
