"""A probe as a few vectors, updated by a few operations instead of a few for each of its arrays."""

from collections.abc import Callable
from typing import Any

import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

FlatParts = dict[str, Float[Array, " _"]]
"""A probe whose parts, "gates" and "baselines", are each one vector."""

Unflatten = Callable[[FlatParts], Any]
"""Flat parts -> the probe."""


def flat_parts(params: Any) -> FlatParts:
    """The parts of a probe, or of its gradient, as vectors."""
    return {name: ravel_pytree(part)[0] for name, part in params.items()}


def unflatten_like(params: Any) -> Unflatten:
    """The inverse of `flat_parts` for probes like this one."""
    undo = {name: ravel_pytree(part)[1] for name, part in params.items()}
    return lambda flat: {name: undo[name](vector) for name, vector in flat.items()}


def flat_pair(pair: optax.LookaheadParams) -> optax.LookaheadParams:
    """The same pair of probes, both of them flat."""
    return optax.LookaheadParams(*map(flat_parts, pair))
