"""Checkpoints of older versions, in which the probe's optimiser had a state per array."""

from typing import Any

import jax
import optax
from jax.flatten_util import ravel_pytree

from diffmask_jax.errors import UserError
from diffmask_jax.game.players import Players
from diffmask_jax.game.steps import TrainState
from diffmask_jax.runtime import devices
from diffmask_jax.runtime.checkpoints import Checkpoints


def restore(checkpoints: Checkpoints, step: int, like: TrainState, players: Players) -> TrainState:
    """The state saved at `step`, whichever version saved it.

    Raises: UserError as `Checkpoints.restore` does.
    """
    try:
        return checkpoints.restore(step, like)
    except UserError as error:
        mesh = jax.tree.leaves(like)[0].sharding.mesh
        older = devices.place(players.primal.init(like.probe), mesh, devices.WHOLE)
        try:
            found = checkpoints.restore(step, like._replace(primal=older))
        except UserError:
            raise error from None
        primal = devices.place(joined(found.primal, like.primal), mesh, devices.WHOLE)
        return found._replace(primal=primal)


def joined(older: Any, like: Any) -> Any:
    """An optimiser's state in which one vector takes the place of several arrays."""

    def join(vector: Any, arrays: Any) -> Any:
        if _is_elsewhere(vector):
            return vector
        return arrays if isinstance(arrays, jax.Array) else ravel_pytree(arrays)[0]

    return jax.tree.map(join, like, older, is_leaf=_is_elsewhere)


def _is_elsewhere(part: Any) -> bool:
    """Whether a part belongs to the other of the two optimisers."""
    return isinstance(part, optax.MaskedNode)
