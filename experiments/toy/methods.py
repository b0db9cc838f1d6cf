"""The methods that Table 1 compares with DiffMask, each on one state of the counting models."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffmask_jax.attribution import methods
from diffmask_jax.attribution.erasure import exact_erasure
from diffmask_jax.attribution.integrated_gradients import integrated_gradients
from diffmask_jax.attribution.methods import Explained
from diffmask_jax.attribution.schulz import Statistics, statistics
from diffmask_jax.game.objective import Clean
from diffmask_jax.models.toy import TOY, make_model

STEPS = 500
MARGIN = 0.05


def erasure(key: Key[Array, ""], target: Explained) -> Float[Array, "N T"]:
    """The fewest tokens that keep the output within the margin, at least one; the rest zeroed."""
    best = exact_erasure(
        lambda state: target.family.divergence(target.clean.logits, target.logits(state)),
        target.state,
        target.clean.inputs.valid,
        jnp.zeros(target.state.shape[-1]),
        MARGIN,
        smallest=1,
    )
    return best.kept.astype(jnp.float32)


METHODS: dict[str, methods.Method] = {
    "erasure": erasure,
    "integrated_gradients": functools.partial(methods.integrated, steps=STEPS),
    "schulz": functools.partial(methods.schulz, steps=STEPS),
    "guan": functools.partial(methods.guan, steps=STEPS, weight=1.0),
}


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def attribute(
    method: Callable,
    keys: Key[Array, " S"],
    params: Any,
    data: Clean,
    noise: Statistics,
    layer: int,
    reading: tuple[int, ...] | None = None,
) -> Float[Array, "S N T"]:
    """One method's attributions to state `layer`, all seeds and examples at once.

    reading: where examples stand longest first, as `setup.reading` tells of them: then nothing is
    computed for those that are over.
    """
    model = make_model(reading)

    def one(key: Array, params: Any, data: Clean, noise: Statistics) -> Array:
        return method(key, methods.explained(model, params, data, noise, layer))

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
        prediction = TOY.family.prediction(data.logits)
        start = probe["baselines"][layer]

        def score(state: Array) -> Array:
            logits = TOY.logits_from(params, data.inputs, start + state, layer)
            return TOY.family.score(logits, prediction)

        path = data.states[layer] - start
        return jnp.abs(integrated_gradients(score, path, data.inputs.valid, 50).contribution)

    return jax.vmap(one)(params, probe, data)
