"""A frozen network as two pure functions: all the method ever asks of the network it explains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.game.divergences import Family, Logits

Params = Any
"""A model's parameters, a pytree of arrays whose structure only that model knows."""

States = tuple[Float[Array, "B T _"], ...]
"""Every state of one pass, (B, T, width); the width may differ between states."""

PerLayer = tuple[Array, ...]
"""One array a layer: states, gates, baselines."""

Joining = tuple[Float[Array, "_ T _"], ...]
"""What slices of a batch are resumed from: the rows that join at each state, (B_k, T, width)."""

Layer = int | Int[Array, ""]
"""Which state, or the depth that a whole batch plays, counted from 0: a Python int, or a scalar
traced by `jax.jit`."""


class Model(NamedTuple):
    """The network under analysis, split at its states.

    Attributes:
        states: `(params, inputs) -> (logits, states)`, one clean pass that gives both.
        logits_from: `(params, inputs, state, layer) -> logits`, the pass resumed from `state`
            put in place of state `layer`. An int `layer` leaves the network below it out of the
            program; a traced one skips it at run time. Where states differ in width, the state
            put in place of a traced one is as wide as the widest, and what is too much is ignored.
        layers: the plot label of every state, ("W", "E", "1", …) for BERT; L is their number.
        family: what its logits mean.
        staircase: `(params, inputs, states) -> logits`, one pass that slices of a batch join at
            states of their own: states[k], (B_k, T, width), is put in place of state k of the B_k
            rows that come next. Nothing is computed for rows that have not joined yet. None: it is
            made of `logits_from`, a pass a slice.
        packs: whether `states` takes rows of several texts as well (`data.inputs.PackedInputs`);
            its logits are then of every position, and mean something where a text begins.
        attention: `(params, inputs, states) -> (B, H, T, T) a block`, the attention weights of
            every block, rows being queries; None where there is no attention.

    inputs: a batch for it, a NamedTuple of arrays, one of them `valid`, (B, T): which positions
    hold a token. The others are padding, and what stands there never changes a logit.
    """

    states: Callable[[Params, Any], tuple[Logits, States]]
    logits_from: Callable[[Params, Any, Float[Array, "B T D"], Layer], Logits]
    layers: tuple[str, ...]
    family: Family
    attention: Callable[[Params, Any, States], tuple[Array, ...]] | None = None
    staircase: Callable[[Params, Any, Joining], Logits] | None = None
    packs: bool = False


def staircase(model: Model, params: Params, inputs: Any, states: Joining) -> Logits:
    """The logits of a batch whose slices are resumed from states of their own (`Model`)."""
    if model.staircase is not None:
        return model.staircase(params, inputs, states)
    ends = np.cumsum([len(state) for state in states])
    logits = [
        model.logits_from(params, rows_of(inputs, slice(end - len(state), end)), state, layer)
        for layer, (state, end) in enumerate(zip(states, ends, strict=True))
        if len(state)
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *logits)


def rows_of(batch: Any, rows: slice | Int[np.ndarray, " R"]) -> Any:
    """Some rows of a batch: of every array of a pytree, along its first axis."""
    if isinstance(rows, np.ndarray) and rows.size:
        start = int(rows[0])
        if np.array_equal(rows, np.arange(start, start + rows.size)):
            rows = slice(start, start + rows.size)  # they stand together: no gathering
    return jax.tree.map(lambda array: array[rows], batch)


def at_layer(per_layer: PerLayer, layer: Layer) -> Array:
    """The entry of one layer, by an int or by a traced scalar.

    Entries of different width are as wide as the widest where the layer is traced, zeros behind.
    """
    return per_layer[layer] if isinstance(layer, int) else jnp.stack(equally_wide(per_layer))[layer]


def equally_wide(arrays: PerLayer) -> PerLayer:
    """Arrays (…, D₁), (…, D₂), … as wide as the widest, with zeros behind the narrower ones."""
    widest = max(array.shape[-1] for array in arrays)
    return tuple(widened(array, widest) for array in arrays)


def widened(array: Float[Array, "*b D"], width: int) -> Float[Array, "*b _"]:
    """An array of a width, with zeros behind what it has."""
    lacking = width - array.shape[-1]
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, lacking)]) if lacking else array
