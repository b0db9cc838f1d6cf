"""The training loop: both players step from one backward pass, many steps per compiled call."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Key

from diffmask_jax.game.drawing import Depths
from diffmask_jax.game.flat_probes import Unflatten, flat_pair, flat_parts, unflatten_like
from diffmask_jax.game.model import Layer, rows_of
from diffmask_jax.game.multipliers import project
from diffmask_jax.game.objective import Clean, Diagnostics, Game, objective
from diffmask_jax.game.players import Players

Axes = tuple[str, ...]
"""Names of the mesh axes that a batch is sharded along."""


class TrainState(NamedTuple):
    """Everything that a step changes; with the run's key and data order it determines the rest.

    probe: a pair of {"gates", "baselines"}
    multipliers: a pair of λs, (L,)
    primal: the state of the probe's optimiser, in which each part of the probe is one vector
    dual: the state of λ's optimiser
    """

    step: Int[Array, ""]
    probe: optax.LookaheadParams
    multipliers: optax.LookaheadParams
    primal: Any
    dual: Any


DrawLayer = Callable[[Key[Array, ""], int], Layer | Depths]
"""Which depths to play: (key, examples in the batch) -> one for all, or one per example."""


def one_layer_a_batch(layers: int) -> DrawLayer:
    """As the authors do: the whole batch is masked at one depth, drawn uniformly."""
    return lambda key, examples: jax.random.randint(key, (), 0, layers)


def one_layer_an_example(layers: int) -> DrawLayer:
    """Every depth in every batch: row r plays depth r mod L, whichever text the data's order puts
    there, so that depths are known when the program is compiled."""
    return lambda key, examples: np.arange(examples) % layers


LAYERS = {"example": one_layer_an_example, "batch": one_layer_a_batch}
"""How depths are drawn, by what each is drawn for."""


def init(probe_params: Any, layers: int, players: Players) -> TrainState:
    """The state before the first step."""
    probe = _pair(probe_params)
    multipliers = _pair(jnp.full(layers, players.multiplier, jnp.float32))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        probe=probe,
        multipliers=multipliers,
        primal=players.primal.init(flat_pair(probe)),
        dual=players.dual.init(multipliers),
    )


def _pair(params: Any) -> optax.LookaheadParams:
    # A copy, since a buffer that occurs twice in a state cannot be donated.
    return optax.LookaheadParams(fast=params, slow=jax.tree.map(jnp.copy, params))


class Play(NamedTuple):
    """Everything that steps use beside their batches, and that no step changes.

    players: who moves the probe, and who moves λ
    fetch: a batch, or a part of it -> its `Clean` pass, computed now or looked up
    draw_layer: which depths are played
    axes: the mesh axes that a batch is sharded along, inside `jax.shard_map`. An example's gates
        depend only on its row in the whole batch, and so do depths that are drawn.
    parts: how many equal parts this device's rows are worked through in, one after another, in less
        memory. Static depths are dealt anew to each part: the step is the same for any number of
        devices and parts whose rows are a multiple of the number of layers.
    """

    game: Game
    players: Players
    model_params: Any
    fetch: Callable[[Any], Clean]
    draw_layer: DrawLayer
    axes: Axes = ()
    parts: int = 1


def step(
    state: TrainState, key: Key[Array, ""], batch: Any, play: Play
) -> tuple[TrainState, Diagnostics]:
    """One move of both players: descend φ and b, ascend λ, then project λ onto [0, 200]."""
    keys = _keys(key, state.step, _rows(batch), play.axes)
    return _while_flat(state, lambda flat, like: _step(flat, like, keys, batch, play))


def steps(
    state: TrainState, key: Key[Array, ""], batches: Any, play: Play
) -> tuple[TrainState, Diagnostics]:
    """One step per entry of `batches`, in one program; diagnostics stacked along axis 0."""
    number, rows = jax.tree.leaves(batches)[0].shape[:2]
    # Keys are made for all steps at once, so that each step starts a few operations less.
    numbers = state.step + jnp.arange(number)
    keys = jax.vmap(lambda step: _keys(key, step, rows, play.axes))(numbers)

    def scan(flat: TrainState, like: Unflatten) -> tuple[TrainState, Diagnostics]:
        def body(state: TrainState, given: tuple[_Keys, Any]) -> tuple[TrainState, Diagnostics]:
            return _step(state, like, *given, play)

        return jax.lax.scan(body, flat, (keys, batches))

    return _while_flat(state, scan)


def _while_flat(
    state: TrainState,
    move: Callable[[TrainState, Unflatten], tuple[TrainState, Diagnostics]],
) -> tuple[TrainState, Diagnostics]:
    """Apply a move to a state whose probes are made flat for it, and restored afterwards."""
    like = unflatten_like(state.probe.fast)
    moved, diagnostics = move(state._replace(probe=flat_pair(state.probe)), like)
    return moved._replace(probe=optax.LookaheadParams(*map(like, moved.probe))), diagnostics


class _Keys(NamedTuple):
    """A step's keys: one to draw the layer, one per example of this device to draw its gates."""

    layer: Key[Array, ""]
    gates: Key[Array, " B"]


def _keys(key: Key[Array, ""], step: Int[Array, ""], rows: int, axes: Axes) -> _Keys:
    layer_key, gate_key = jax.random.split(jax.random.fold_in(key, step))
    numbers = jax.lax.axis_index(axes) * rows + jnp.arange(rows)
    return _Keys(layer_key, jax.vmap(jax.random.fold_in, (None, 0))(gate_key, numbers))


def _rows(batch: Any) -> int:
    return jax.tree.leaves(batch)[0].shape[0]


def _step(
    state: TrainState, like: Unflatten, keys: _Keys, batch: Any, play: Play
) -> tuple[TrainState, Diagnostics]:
    """`step` of a state whose probes are flat."""
    layer = play.draw_layer(keys.layer, _rows(batch) * jax.lax.axis_size(play.axes))
    gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
    fast = like(state.probe.fast)

    def gradient_on(part: Any) -> Any:
        batch, gate_keys = part
        played = layer
        if isinstance(layer, np.ndarray):
            # Static depths start again with every part. Rows of one depth are brought together
            # before anything is computed: a slice costs less than a gather.
            order = np.argsort(layer[: len(gate_keys)], kind="stable")
            (batch, gate_keys), played = rows_of((batch, gate_keys), order), layer[order]
        (for_probe, for_multipliers), diagnostics = gradient(
            fast,
            state.multipliers.fast,
            gate_keys,
            played,
            game=play.game,
            model_params=play.model_params,
            clean=play.fetch(batch),
        )
        return (flat_parts(for_probe), for_multipliers), diagnostics

    mean = _mean_over_parts(gradient_on, (batch, keys.gates), play.parts)
    (for_probe, for_multipliers), diagnostics = jax.lax.pmean(mean, play.axes)
    for_multipliers *= jnp.sum(diagnostics.played > 0)  # −(D − m) of each layer, 0 where not played
    descent, primal = play.players.primal.update(for_probe, state.primal, state.probe)
    ascent, dual = play.players.dual.update(for_multipliers, state.dual, state.multipliers)
    return TrainState(
        step=state.step + 1,
        probe=optax.apply_updates(state.probe, descent),
        multipliers=project(optax.apply_updates(state.multipliers, ascent)),
        primal=primal,
        dual=dual,
    ), diagnostics


def _mean_over_parts(function: Callable[[Any], Any], whole: Any, parts: int) -> Any:
    """The mean of a function's values on equal parts of some arrays, computed one by one."""
    if parts == 1:
        return function(whole)
    split = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), whole)
    of_one = jax.eval_shape(function, jax.tree.map(lambda a: a[0], split))
    zero = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), of_one)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(part)), None

    total, _ = jax.lax.scan(add, zero, split)
    return jax.tree.map(lambda a: a / parts, total)
