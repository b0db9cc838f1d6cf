"""The methods that Table 1 compares with DiffMask, each on one state of the counting models."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffmask_jax.attribution import methods
from diffmask_jax.attribution.integrated_gradients import integrated_gradients
from diffmask_jax.attribution.schulz import Statistics, statistics
from diffmask_jax.attribution.subject import Explained, Method, explained
from diffmask_jax.game.objective import Clean
from diffmask_jax.models.toy import make_model
from experiments.toy.setup import over_seeds

STEPS = 500
PATH = 200
"""Steps of integrated gradients. The authors take 500; with 100 the gap of completeness is below 2%
for every example, with 300 below 0.2%, and both give the same four digits in Table 1."""
BLOCKS = 10
"""The number of blocks in which a seed's examples are worked through, so that the intermediate
values of a block's gradients fit the processor's cache, as in training."""


def from_baseline(key: Key[Array, ""], target: Explained, *, steps: int) -> Float[Array, "N T"]:
    """Integrated gradients along the path from a baseline, the mean of the noise, not from zero."""
    start, prediction = target.statistics.mean, target.family.prediction(target.clean.logits)
    found = integrated_gradients(
        lambda path: target.family.score(target.logits(start + path), prediction),
        target.state - start,
        target.clean.inputs.valid,
        steps,
    )
    return jnp.abs(found.contribution)


METHODS: dict[str, Method] = {
    "guan": functools.partial(methods.guan, steps=STEPS, weight=1.0),
    "schulz": functools.partial(methods.schulz, steps=STEPS),
    "integrated_gradients": functools.partial(methods.integrated, steps=PATH),
}
FROM_BASELINE = functools.partial(from_baseline, steps=50)


@functools.partial(jax.jit, static_argnums=(0, 5, 6, 7))
def attribute(
    method: Method,
    keys: Key[Array, " S"],
    params: Any,
    data: Clean,
    noise: Statistics,
    layer: int,
    blocks: int = 1,
    reading: tuple[int, ...] | None = None,
) -> Float[Array, "S N T"]:
    """One method's attributions to state `layer` for every seed, one block of examples after
    another: block k has every `blocks`-th example from the k-th on.

    reading: `setup.reading` of the blocks, if examples are sorted by falling length; then nothing
    is computed after the end of an example.
    """
    model = make_model(reading)

    def dealt(array: Array) -> Array:
        return jnp.moveaxis(array.reshape(-1, blocks, *array.shape[1:]), 1, 0)

    def one(key: Array, params: Any, data: Clean, noise: Statistics) -> Array:
        def of_block(block: tuple[Array, Clean]) -> Array:
            key, data = block
            return method(key, explained(model, params, data, noise, layer))

        parts = jax.random.split(key, blocks), jax.tree.map(dealt, data)
        found = jax.lax.map(of_block, parts)
        return jnp.moveaxis(found, 0, 1).reshape(-1, found.shape[-1])

    return over_seeds(one)(keys, params, data, noise)


@functools.partial(jax.jit, static_argnums=1)
def state_statistics(data: Clean, layer: int) -> Statistics:
    """Mean and deviation of a state over all valid positions of each seed."""
    return jax.vmap(lambda d: statistics(d.states[layer], d.inputs.valid))(data)
