"""The methods that Table 1 compares with DiffMask, each on one state of the counting models."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffmask_jax.attribution.erasure import exact_erasure
from diffmask_jax.attribution.guan import tolerated_noise
from diffmask_jax.attribution.integrated_gradients import integrated_gradients
from diffmask_jax.attribution.schulz import Statistics, restrict_flow, statistics
from diffmask_jax.divergences import BERNOULLI
from diffmask_jax.models.toy import TOY
from diffmask_jax.objective import Clean

STEPS = 500
MARGIN = 0.05


class Explained(NamedTuple):
    """What a method sees of one seed: examples, the state to attribute to, functions of it."""

    clean: Clean
    state: Array
    noise: Statistics
    logits: Callable[[Array], Array]
    score: Callable[[Array], Array]


def erasure(key: Key[Array, ""], seen: Explained) -> Float[Array, "N T"]:
    """The fewest tokens that keep the output within the margin, at least one; the rest zeroed."""
    found = exact_erasure(
        lambda state: BERNOULLI.divergence(seen.clean.logits, seen.logits(state)),
        seen.state, seen.clean.inputs.valid, jnp.zeros(seen.state.shape[-1]), MARGIN, smallest=1,
    )  # fmt: skip
    return found.kept.astype(jnp.float32)


def integrated(key: Key[Array, ""], seen: Explained) -> Float[Array, "N T"]:
    """Integrated gradients of the predicted class' logit, from zero."""
    found = integrated_gradients(seen.score, seen.state, seen.clean.inputs.valid, STEPS)
    return jnp.abs(found.contribution)


def schulz(key: Key[Array, ""], seen: Explained) -> Float[Array, "N T"]:
    """Restricting the flow, with the cross-entropy of the predicted class as the loss."""
    return restrict_flow(
        key, lambda state: jax.nn.softplus(-seen.score(state)),
        seen.state, seen.clean.inputs.valid, seen.noise, STEPS,
    )  # fmt: skip


def guan(key: Key[Array, ""], seen: Explained) -> Float[Array, "N T"]:
    """The noise that the logit tolerates."""
    return tolerated_noise(key, seen.logits, seen.state, seen.clean.inputs.valid, STEPS)


METHODS = {"erasure": erasure, "integrated_gradients": integrated, "schulz": schulz, "guan": guan}


@functools.partial(jax.jit, static_argnums=(0, 5))
def attribute(
    method: Callable,
    keys: Key[Array, " S"],
    params: Any,
    data: Clean,
    noise: Statistics,
    layer: int,
) -> Float[Array, "S N T"]:
    """One method's attributions to state `layer`, all seeds and examples at once."""

    def one(key: Array, params: Any, data: Clean, noise: Statistics) -> Array:
        prediction = BERNOULLI.prediction(data.logits)

        def logits(state: Array) -> Array:
            return TOY.logits_from(params, data.inputs, state, layer)

        def score(state: Array) -> Array:
            return BERNOULLI.score(logits(state), prediction)

        return method(key, Explained(data, data.states[layer], noise, logits, score))

    return jax.vmap(one)(keys, params, data, noise)


@functools.partial(jax.jit, static_argnums=1)
def state_statistics(data: Clean, layer: int) -> Statistics:
    """Mean and deviation of a state over all valid positions of each seed."""
    return jax.vmap(lambda d: statistics(d.states[layer], d.inputs.valid))(data)


@functools.partial(jax.jit, static_argnums=3)
def from_learned_baseline(
    params: Any, probe: Any, data: Clean, layer: int
) -> Float[Array, "S N T"]:
    """Integrated gradients, 50 steps, along the path from DiffMask's baseline instead of zero."""

    def one(params: Any, probe: Any, data: Clean) -> Array:
        prediction = BERNOULLI.prediction(data.logits)
        start = probe["baselines"][layer]

        def score(state: Array) -> Array:
            logits = TOY.logits_from(params, data.inputs, start + state, layer)
            return BERNOULLI.score(logits, prediction)

        path = data.states[layer] - start
        return jnp.abs(integrated_gradients(score, path, data.inputs.valid, 50).contribution)

    return jax.vmap(one)(params, probe, data)
