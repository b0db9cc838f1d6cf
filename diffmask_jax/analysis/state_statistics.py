"""Mean and deviation of every state over a data set, in one streaming pass."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.attribution import schulz
from diffmask_jax.attribution.schulz import Moments, Statistics
from diffmask_jax.data.batches import Batch
from diffmask_jax.game.model import Model, equally_wide


def state_statistics(model: Model, params: Any, batches: Iterable[Batch]) -> Statistics:
    """Statistics over all valid positions, of every state: arrays (L, D).

    D is the width of the widest state; the surplus of narrower ones is zero. Only one batch's
    states are in memory at a time. Rows beyond a batch's indices are not counted.

    Raises: ValueError if there is no batch.
    """
    total = None
    for batch in batches:
        real = np.arange(len(batch.inputs.valid))[:, None] < len(batch.indices)
        inputs = batch.inputs._replace(valid=batch.inputs.valid & real)
        total = _add(model, total, params, inputs)
    if total is None:
        raise ValueError("there is no batch to take statistics of")
    return jax.vmap(schulz.finish)(total)


@functools.partial(jax.jit, static_argnums=0)
def _add(model: Model, total: Moments | None, params: Any, inputs: Any) -> Moments:
    _, states = model.states(params, inputs)
    batch = jax.vmap(schulz.moments, in_axes=(0, None))(
        jnp.stack(equally_wide(states)), inputs.valid
    )
    return batch if total is None else jax.vmap(schulz.merge)(total, batch)
