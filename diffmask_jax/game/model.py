"""A frozen network as two pure functions: all that the method needs of the network it explains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.game.divergences import Family, Logits

Params = Any
"""A model's parameters, a pytree of arrays; only the model knows its structure."""

States = tuple[Float[Array, "B T _"], ...]
"""All states of one forward pass, (B, T, width); the width may differ between states."""

PerLayer = tuple[Array, ...]
"""One array per layer: states, gates, baselines."""

Joining = tuple[Float[Array, "_ T _"], ...]
"""The states that slices of a batch are resumed from: state k of B_k rows, (B_k, T, width)."""

Layer = int | Int[Array, ""]
"""The number of a state, from 0, and so the depth that a whole batch plays: a static Python int, or
a scalar traced by `jax.jit`."""


class Model(NamedTuple):
    """The network under analysis, split at its states.

    Attributes:
        states: `(params, inputs) -> (logits, states)`, one unmasked forward pass.
        logits_from: `(params, inputs, state, layer) -> logits`, the pass resumed with `state`
            in place of state `layer`. With a static `layer` the network below it is not part of
            the program; with a traced one it is skipped at run time. Where states differ in width,
            a traced `layer` takes a state as wide as the widest and ignores the surplus.
        layers: the label of every state in plots, ("W", "E", "1", …) for BERT; L is their number.
        family: the family of its output distribution.
        staircase: `(params, inputs, states) -> logits`, one pass that slices of a batch join at
            different states: the first B₀ rows at states[0], (B₀, T, width), the next B₁ rows at
            states[1], and so on. Nothing is computed for rows that have not joined yet. None:
            `logits_from` is called for each slice.
        packs: whether `states` also takes rows of several texts (`data.inputs.PackedInputs`); it
            then returns logits for every position, which count only where a text begins.
        attention: `(params, inputs, states) -> (B, H, T, T)` per block, the attention weights, one
            row per query; None where there is no attention.

    Inputs are a batch, a NamedTuple of arrays, one of which is `valid`, (B, T): the positions that
    hold a token. The others are padding, and their contents never change a logit.
    """

    states: Callable[[Params, Any], tuple[Logits, States]]
    logits_from: Callable[[Params, Any, Float[Array, "B T D"], Layer], Logits]
    layers: tuple[str, ...]
    family: Family
    attention: Callable[[Params, Any, States], tuple[Array, ...]] | None = None
    staircase: Callable[[Params, Any, Joining], Logits] | None = None
    packs: bool = False


def staircase(model: Model, params: Params, inputs: Any, states: Joining) -> Logits:
    """The logits of a batch whose slices are resumed from different states (`Model.staircase`)."""
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
            rows = slice(start, start + rows.size)  # consecutive rows need no gather
    return jax.tree.map(lambda array: array[rows], batch)


def at_layer(per_layer: PerLayer, layer: Layer) -> Array:
    """The entry of one layer.

    Where the layer is traced and widths differ, the entry is padded with zeros to the widest.
    """
    return per_layer[layer] if isinstance(layer, int) else jnp.stack(equally_wide(per_layer))[layer]


def equally_wide(arrays: PerLayer) -> PerLayer:
    """Arrays (…, D₁), (…, D₂), …, all padded with zeros to the width of the widest."""
    widest = max(array.shape[-1] for array in arrays)
    return tuple(widened(array, widest) for array in arrays)


def widened(array: Float[Array, "*b D"], width: int) -> Float[Array, "*b _"]:
    """An array padded with zeros to a width."""
    lacking = width - array.shape[-1]
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, lacking)]) if lacking else array
