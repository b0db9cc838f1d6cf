"""The loop: both players step from one backward pass, many steps in one call on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Key

from diffmask_jax.game import optimizers
from diffmask_jax.game.objective import Clean, Diagnostics, Game, objective
from diffmask_jax.game.optimizers import Rates
from diffmask_jax.game.probes import DrawLayer, Layers, Probe

Axes = tuple[str, ...]
"""Names of the mesh axes that a batch is sharded along."""


class TrainState(NamedTuple):
    """Everything a step changes; with the run's key and data order it determines the rest."""

    step: Int[Array, ""]
    probe: optax.LookaheadParams
    multipliers: optax.LookaheadParams
    primal: Any
    dual: Any


def one_layer_a_batch(layers: int) -> DrawLayer:
    """The authors' way: the whole batch is masked at one depth, drawn uniformly."""
    return lambda key, examples: jax.random.randint(key, (), 0, layers)


def draw_layer(probe: Probe, way: str, layers: int) -> DrawLayer:
    """How depths are drawn: one a "batch", the authors' way, or one an "example" (`Probe.deal`)."""
    return {"batch": one_layer_a_batch, "example": probe.deal}[way](layers)


def init(probe_params: Any, layers: int, rates: Rates) -> TrainState:
    """The state before the first step, with λ = 1 at each of the layers."""
    probe = _pair(probe_params)
    multipliers = _pair(optimizers.initial_multipliers(layers))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        probe=probe,
        multipliers=multipliers,
        primal=optimizers.primal(rates).init(probe),
        dual=optimizers.dual(rates).init(multipliers),
    )


def _pair(params: Any) -> optax.LookaheadParams:
    # A copy, since a buffer that stands twice in a state cannot be donated.
    return optax.LookaheadParams(fast=params, slow=jax.tree.map(jnp.copy, params))


def step(
    state: TrainState,
    key: Key[Array, ""],
    batch: Any,
    fetch: Callable[[Any], Clean],
    draw_layer: DrawLayer,
    *,
    game: Game,
    rates: Rates,
    model_params: Any,
    axes: Axes = (),
    parts: int = 1,
) -> tuple[TrainState, Diagnostics]:
    """One move of both players: descend φ and b, ascend λ, then project λ onto [0, 200].

    fetch: a batch, or a part of it -> its `Clean` pass, computed now or looked up.
    axes: the mesh axes that the batch is sharded along, inside `jax.shard_map`. An example's layer
    and gates depend on its row in the whole batch alone, so that any number of devices plays the
    same game.
    parts: in how many, one after the other, to work through this device's rows, which it must
    divide: the same step from less memory. Where depths are known to the program, a part of a
    device's rows must be a multiple of the layers.
    """
    layer_key, gate_key = jax.random.split(jax.random.fold_in(key, state.step))
    here = jax.tree.leaves(batch)[0].shape[0]
    rows = jax.lax.axis_index(axes) * here + jnp.arange(here)
    layer = draw_layer(layer_key, here * jax.lax.axis_size(axes))
    gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)

    def gradient_on(part: Any) -> Any:
        batch, rows = part
        return gradient(
            state.probe.fast,
            state.multipliers.fast,
            jax.vmap(jax.random.fold_in, (None, 0))(gate_key, rows),
            _of_rows(layer, rows),
            game=game,
            model_params=model_params,
            clean=fetch(batch),
        )

    gradients = jax.lax.pmean(_mean_over_parts(gradient_on, (batch, rows), parts), axes)
    (for_probe, for_multipliers), diagnostics = gradients
    descent, primal = optimizers.primal(rates).update(for_probe, state.primal, state.probe)
    ascent, dual = optimizers.dual(rates).update(for_multipliers, state.dual, state.multipliers)
    return TrainState(
        step=state.step + 1,
        probe=optax.apply_updates(state.probe, descent),
        multipliers=optimizers.project(optax.apply_updates(state.multipliers, ascent)),
        primal=primal,
        dual=dual,
    ), diagnostics


def _of_rows(layer: Layers, rows: Int[Array, " R"]) -> Any:
    """The depths of some rows that lie side by side.

    Those that the program knows begin anew with every part: it holds a multiple of the layers.
    """
    if isinstance(layer, np.ndarray):
        return layer[: len(rows)]
    return layer if isinstance(layer, int) or layer.ndim == 0 else layer[rows]


def _mean_over_parts(function: Callable[[Any], Any], whole: Any, parts: int) -> Any:
    """The mean of what a function makes of equal parts of some arrays, one part at a time."""
    if parts == 1:
        return function(whole)
    split = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), whole)
    of_one = jax.eval_shape(function, jax.tree.map(lambda a: a[0], split))
    zero = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), of_one)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(part)), None

    total, _ = jax.lax.scan(add, zero, split)
    return jax.tree.map(lambda a: a / parts, total)


def steps(
    state: TrainState,
    key: Key[Array, ""],
    batches: Any,
    fetch: Callable[[Any], Clean],
    draw_layer: DrawLayer,
    **given: Any,
) -> tuple[TrainState, Diagnostics]:
    """As many steps as `batches` has entries, in one program; diagnostics stacked along axis 0.

    The other arguments are those of `step`.
    """

    def body(state: TrainState, batch: Any) -> tuple[TrainState, Diagnostics]:
        return step(state, key, batch, fetch, draw_layer, **given)

    return jax.lax.scan(body, state, batches)
