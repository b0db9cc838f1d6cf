"""A small network whose states differ in width: 3, 5 and 5."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffmask_jax.data.batches import Batch
from diffmask_jax.game.divergences import CATEGORICAL, Family
from diffmask_jax.game.model import Model

B, T, WIDTHS = 4, 6, (3, 5, 5)


class Inputs(NamedTuple):
    words: Array
    valid: Array


def _normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


PARAMS = {"blocks": [_normal(0, 3, 5), _normal(1, 5, 5)], "head": _normal(2, 5, 4)}
INPUTS = Inputs(_normal(3, B, T, 3), jnp.arange(T) < jnp.array([[6], [4], [3], [1]]))


def _states(params, inputs: Inputs):
    states = [inputs.words]
    for block in params["blocks"]:
        states.append(jnp.tanh(states[-1] @ block))
    return _head(params, inputs, states[-1]), tuple(states)


def _head(params, inputs: Inputs, state: Array) -> Array:
    return jnp.where(inputs.valid[..., None], state, 0.0).sum(1) @ params["head"]


def _logits_from(params, inputs: Inputs, state: Array, layer) -> Array:
    """As `Model` asks: an int layer's state is as wide as it is, a traced one's as the widest."""
    if isinstance(layer, int):
        assert state.shape[-1] == WIDTHS[layer]
        for block in params["blocks"][layer:]:
            state = jnp.tanh(state @ block)
        return _head(params, inputs, state)
    assert state.shape[-1] == max(WIDTHS)
    for below, block in enumerate(params["blocks"]):
        width = WIDTHS[below]
        up = lambda state, block=block, width=width: jnp.tanh(state[..., :width] @ block)  # noqa: E731
        state = jax.lax.cond(layer <= below, up, lambda state: state, state)
    return _head(params, inputs, state)


def model(family: Family = CATEGORICAL) -> Model:
    return Model(_states, _logits_from, ("0", "1", "2"), family)


def batches() -> list[Batch]:
    """The inputs in two batches, the second of them filled up."""
    halves = jax.tree.map(lambda a: a[:2], INPUTS), jax.tree.map(lambda a: a[2:], INPUTS)
    return [Batch(np.array([0, 1]), halves[0]), Batch(np.array([2, 3]), halves[1])]
