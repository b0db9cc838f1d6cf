"""The loop: both players step from one backward pass, many steps in one call on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.game.model import rows_of
from diffmask_jax.game.multipliers import project
from diffmask_jax.game.objective import Clean, Diagnostics, Game, objective
from diffmask_jax.game.players import Players
from diffmask_jax.game.probes import Depths, Layer

Axes = tuple[str, ...]
"""Names of the mesh axes that a batch is sharded along."""


class TrainState(NamedTuple):
    """Everything a step changes; with the run's key and data order it determines the rest.

    probe: a pair of {"gates", "baselines"}; primal: its optimiser's state, for which each of these
    parts is one vector
    """

    step: Int[Array, ""]
    probe: optax.LookaheadParams
    multipliers: optax.LookaheadParams
    primal: Any
    dual: Any


DrawLayer = Callable[[Key[Array, ""], int], Layer | Depths]
"""Which depths to play: (key, examples in the batch) -> one for all, or one an example."""


def one_layer_a_batch(layers: int) -> DrawLayer:
    """The authors' way: the whole batch is masked at one depth, drawn uniformly."""
    return lambda key, examples: jax.random.randint(key, (), 0, layers)


def one_layer_an_example(layers: int) -> DrawLayer:
    """Every depth in every batch: row r plays depth r mod L, whichever text the data's order puts
    there, so that the program knows who plays what."""
    return lambda key, examples: np.arange(examples) % layers


LAYERS = {"example": one_layer_an_example, "batch": one_layer_a_batch}
"""How depths are drawn, by what a depth is drawn for."""


def init(probe_params: Any, layers: int, players: Players) -> TrainState:
    """The state before the first step."""
    probe = _pair(probe_params)
    multipliers = _pair(jnp.full(layers, players.multiplier, jnp.float32))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        probe=probe,
        multipliers=multipliers,
        primal=players.primal.init(_flat(probe)),
        dual=players.dual.init(multipliers),
    )


def _pair(params: Any) -> optax.LookaheadParams:
    # A copy, since a buffer that stands twice in a state cannot be donated.
    return optax.LookaheadParams(fast=params, slow=jax.tree.map(jnp.copy, params))


def _flat(pair: optax.LookaheadParams) -> optax.LookaheadParams:
    """The same pair of probes, each of their parts one vector: to move it takes a few operations,
    where it took a few for every one of its arrays."""
    return optax.LookaheadParams(*map(_flat_parts, pair))


def _flat_parts(params: Any) -> dict[str, Float[Array, " _"]]:
    return {name: ravel_pytree(part)[0] for name, part in params.items()}


def _of_flat(params: Any) -> Callable[[dict[str, Float[Array, " _"]]], Any]:
    """The inverse of `_flat_parts` for probes like this one."""
    undo = {name: ravel_pytree(part)[1] for name, part in params.items()}
    return lambda flat: {name: undo[name](vector) for name, vector in flat.items()}


def step(
    state: TrainState,
    key: Key[Array, ""],
    batch: Any,
    fetch: Callable[[Any], Clean],
    draw_layer: DrawLayer,
    *,
    game: Game,
    players: Players,
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
    like = _of_flat(state.probe.fast)
    given = {"game": game, "players": players, "model_params": model_params}
    flat = state._replace(probe=_flat(state.probe))
    keys = _keys(key, state.step, _rows(batch), axes)
    new, diagnostics = _step(
        flat, keys, batch, fetch, draw_layer, like=like, axes=axes, parts=parts, **given
    )
    return new._replace(probe=optax.LookaheadParams(*map(like, new.probe))), diagnostics


class _Keys(NamedTuple):
    """A step's: to draw a layer with, and the gates of each of this device's examples."""

    layer: Key[Array, ""]
    gates: Key[Array, " B"]


def _keys(key: Key[Array, ""], step: Int[Array, ""], rows: int, axes: Axes) -> _Keys:
    layer_key, gate_key = jax.random.split(jax.random.fold_in(key, step))
    numbers = jax.lax.axis_index(axes) * rows + jnp.arange(rows)
    return _Keys(layer_key, jax.vmap(jax.random.fold_in, (None, 0))(gate_key, numbers))


def _rows(batch: Any) -> int:
    return jax.tree.leaves(batch)[0].shape[0]


def _step(
    state: TrainState,
    keys: _Keys,
    batch: Any,
    fetch: Callable[[Any], Clean],
    draw_layer: DrawLayer,
    like: Callable[[dict[str, Float[Array, " _"]]], Any],
    *,
    game: Game,
    players: Players,
    model_params: Any,
    axes: Axes = (),
    parts: int = 1,
) -> tuple[TrainState, Diagnostics]:
    """`step` of a state whose probes are flat. like: -> a probe as it was."""
    layer = draw_layer(keys.layer, _rows(batch) * jax.lax.axis_size(axes))
    gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
    fast = like(state.probe.fast)

    def gradient_on(part: Any) -> Any:
        batch, gate_keys = part
        played = layer
        if isinstance(layer, np.ndarray):
            # Depths that are dealt out begin anew with every part. The rows of a depth are made to
            # stand together, before anything is computed, for slices cost nothing.
            order = np.argsort(layer[: len(gate_keys)], kind="stable")
            (batch, gate_keys), played = rows_of((batch, gate_keys), order), layer[order]
        (for_probe, for_multipliers), diagnostics = gradient(
            fast,
            state.multipliers.fast,
            gate_keys,
            played,
            game=game,
            model_params=model_params,
            clean=fetch(batch),
        )
        return (_flat_parts(for_probe), for_multipliers), diagnostics

    gradients = jax.lax.pmean(_mean_over_parts(gradient_on, (batch, keys.gates), parts), axes)
    (for_probe, for_multipliers), diagnostics = gradients
    for_multipliers *= jnp.sum(diagnostics.played > 0)  # −(D − m) of each layer, 0 where not played
    descent, primal = players.primal.update(for_probe, state.primal, state.probe)
    ascent, dual = players.dual.update(for_multipliers, state.dual, state.multipliers)
    return TrainState(
        step=state.step + 1,
        probe=optax.apply_updates(state.probe, descent),
        multipliers=project(optax.apply_updates(state.multipliers, ascent)),
        primal=primal,
        dual=dual,
    ), diagnostics


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
    *,
    axes: Axes = (),
    **given: Any,
) -> tuple[TrainState, Diagnostics]:
    """As many steps as `batches` has entries, in one program; diagnostics stacked along axis 0.

    The other arguments are those of `step`.
    """
    like = _of_flat(state.probe.fast)
    number, rows = jax.tree.leaves(batches)[0].shape[:2]

    def body(state: TrainState, batch_and_keys: Any) -> tuple[TrainState, Diagnostics]:
        batch, keys = batch_and_keys
        return _step(state, keys, batch, fetch, draw_layer, like, axes=axes, **given)

    # Keys are made for all steps together, that each starts a few operations less.
    steps = state.step + jnp.arange(number)
    keys = jax.vmap(lambda step: _keys(key, step, rows, axes))(steps)
    flat = state._replace(probe=_flat(state.probe))
    state, diagnostics = jax.lax.scan(body, flat, (batches, keys))
    return state._replace(probe=optax.LookaheadParams(*map(like, state.probe))), diagnostics
