"""The toy experiment's data, counting models and probes, for all seeds at once under `vmap`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.game import probes, steps
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import (
    Clean,
    Diagnostics,
    Game,
    clean_pass,
    log_keep_everywhere,
    mean_log_keep,
)
from diffmask_jax.game.players import Players
from diffmask_jax.models import toy
from diffmask_jax.models.toy import TOY, ToyInputs
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.tasks.toy import ToyData, generate, in_query

TRAINING, VALIDATION, BATCH = 9000, 1000, 128
MODEL_EPOCHS, MODEL_RATE = 30, 3e-3
MARGIN = 0.05  # nats
GAME = Game(TOY, probes.hidden_probe(32), MARGIN, mean_log_keep)


class Style(NamedTuple):
    """How the game is played: its players, and `Game.pull`."""

    players: Players
    pull: float


class Split(NamedTuple):
    """One split of the data of every seed. truth: the positions of n and m."""

    inputs: ToyInputs
    label: Array
    truth: Array


def make_data(seeds: list[int]) -> tuple[Split, Split]:
    """Training and validation examples, drawn for each seed along axis 0, and sorted by falling
    length."""
    drawn = [generate(seed, TRAINING + VALIDATION) for seed in seeds]

    def part(rows: slice) -> Split:
        return _split([ToyData(*(array[rows] for array in data)) for data in drawn])

    return part(slice(TRAINING)), part(slice(TRAINING, None))


def make_held_out(seeds: list[int]) -> Split:
    """Further examples of every seed, used only to select a counting model."""
    return _split([generate(seed, VALIDATION, stream=1) for seed in seeds])


def _split(drawn: list[ToyData]) -> Split:
    def longest_first(data: ToyData) -> ToyData:
        order = np.argsort(-np.sum(data.valid, axis=1), kind="stable")
        return ToyData(*(array[order] for array in data))

    pieces = [longest_first(data) for data in drawn]
    data = jax.tree.map(lambda *fields: jnp.asarray(np.stack(fields)), *pieces)
    truth = jnp.asarray(np.stack([in_query(piece) for piece in pieces]))
    return Split(ToyInputs(data.query, data.digits, data.valid), data.label, truth)


def seed_keys(seeds: list[int]) -> Key[Array, " S"]:
    """One key per seed, which does not depend on the other seeds."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])


DEALT = np.linspace(0, TRAINING - 1, TRAINING // BATCH * BATCH).round().astype(int)
"""The examples, sorted by falling length, that fill whole batches: all but 40, evenly spread."""


def _batches(
    key: Key[Array, ""], epoch: Array | int, valid: Bool[Array | np.ndarray, "N T"]
) -> Int[Array, "_ B"]:
    """All examples in a new order: row r of every batch comes from the r-th quantile of falling
    lengths, so that all batches have similar lengths, and few rows are still read at their end."""
    draw = jax.random.uniform(jax.random.fold_in(key, epoch), valid.shape[:1])
    order = jnp.argsort(draw - jnp.sum(valid, axis=1))
    return order[DEALT].reshape(BATCH, -1).T


def reading(valid: Bool[Array | np.ndarray, "S N T"]) -> tuple[int, ...]:
    """How many rows of data sorted by falling length are still read at each position, the maximum
    over seeds; rounded up to multiples of 8, so that other data seldom need another program."""
    lengths = np.sum(np.asarray(valid), axis=-1)
    return tuple(_at_most(lengths > position) for position in range(valid.shape[-1]))


def _at_most(longer: Bool[np.ndarray, "S N"]) -> int:
    rows = longer.shape[1]
    return min(rows, max(8, -(-int(np.max(np.sum(longer, axis=1))) // 8) * 8))


def reading_in_batches(valid: Bool[Array | np.ndarray, "S N T"]) -> tuple[int, ...]:
    """`reading` of the batches into which training data are dealt."""
    return reading(valid[:, DEALT[:: len(DEALT) // BATCH]])  # the longest example of each row


def over_seeds(function: Callable) -> Callable:
    """A function of one seed's arrays, applied to all seeds: one after another on a CPU, whose
    caches fit one seed, and at once elsewhere. The numbers are the same."""

    def of_all(*arguments: Any) -> Any:
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda of_one: function(*of_one), arguments)
        return jax.vmap(function)(*arguments)

    return of_all


class _Best(NamedTuple):
    """The counting model of the best epoch so far, and its cross-entropy on held-out examples."""

    params: Any
    loss: Float[Array, ""]


@functools.partial(jax.jit, static_argnames="reading")
def train_model(
    keys: Key[Array, " S"], data: Split, held_out: Split, reading: tuple[int, ...]
) -> Any:
    """Adam on the binary cross-entropy, with batches of 128, for 30 epochs at a rate that falls
    from 3e-3 to 0 (half a cosine); returns the model of the best epoch on held-out examples.

    reading: `reading_in_batches` of the data
    """
    model = toy.make_model(reading)
    batches = TRAINING // BATCH
    rate = optax.cosine_decay_schedule(MODEL_RATE, MODEL_EPOCHS * batches)
    optimizer = optax.flatten(optax.adam(rate))

    def loss(params: Any, model: Model, data: Split) -> Array:
        logits, _ = model.states(params, data.inputs)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, data.label))

    def one(key: Key[Array, ""], data: Split, held_out: Split) -> Any:
        init_key, order_key = jax.random.split(key)

        def step(carry: Any, rows: Array) -> tuple[Any, None]:
            params, state = carry
            gradient = jax.grad(loss)(params, model, jax.tree.map(lambda a: a[rows], data))
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        def epoch(carry: Any, number: Array) -> tuple[Any, None]:
            running, best = carry
            rows = _batches(order_key, number, data.inputs.valid)
            running, _ = jax.lax.scan(step, running, rows)
            now = _Best(running[0], loss(running[0], TOY, held_out))
            better = now.loss < best.loss
            return (running, jax.tree.map(lambda a, b: jnp.where(better, a, b), now, best)), None

        params = toy.init(init_key)
        start = (params, optimizer.init(params)), _Best(params, jnp.array(jnp.inf))
        (_, best), _ = jax.lax.scan(epoch, start, jnp.arange(MODEL_EPOCHS))
        return best.params

    return over_seeds(one)(keys, data, held_out)


def accuracy(data: Clean, label: Int[Array, "S N"]) -> Float[Array, " S"]:
    """Share of examples whose label the model predicts."""
    return jnp.mean(TOY.family.prediction(data.logits) == label, axis=1)


@jax.jit
@jax.vmap
def clean(params: Any, data: Split) -> Clean:
    """The clean pass of a whole split, computed once, since the model is frozen."""
    return clean_pass(GAME.model, params, data.inputs)


@jax.jit
def _fresh(keys: Key[Array, " S"], data: Clean, layer: Array | int) -> Any:
    """A fresh probe per seed and state, whose baselines start at the mean of each state."""

    def one(key: Key[Array, ""], data: Clean) -> Any:
        means = [statistics(state, data.inputs.valid).mean for state in data.states]
        return probes.init(jax.random.fold_in(key, layer), GAME.probe, data.states, means)

    return over_seeds(one)(keys, data)


@functools.partial(jax.jit, static_argnames="players")
def _before(probe: Any, players: Players) -> steps.TrainState:
    return jax.vmap(lambda probe: steps.init(probe, len(TOY.layers), players))(probe)


def start(keys: Key[Array, " S"], data: Clean, *, layer: int, style: Style) -> steps.TrainState:
    """The state of every seed before the first step."""
    return _before(_fresh(keys, data, layer), style.players)


@functools.partial(jax.jit, static_argnames=("layer", "style", "reading"), donate_argnums=0)
def epoch(
    state: steps.TrainState,
    keys: Key[Array, " S"],
    params: Any,
    data: Clean,
    number: Array | int,
    *,
    layer: int,
    style: Style,
    reading: tuple[int, ...],
) -> tuple[steps.TrainState, dict[str, Array]]:
    """One epoch of every seed on one state, and its mean diagnostics; the old state is donated.

    reading: `reading_in_batches` of the data
    """
    game = GAME._replace(model=toy.make_model(reading), pull=style.pull)

    def one(state: steps.TrainState, key: Array, params: Any, data: Clean) -> Any:
        def fetch(rows: Array) -> Clean:
            return jax.tree.map(lambda a: a[rows], data)

        play = steps.Play(game, style.players, params, fetch, lambda key, examples: layer)
        batches = _batches(key, number, data.inputs.valid)
        state, diagnostics = steps.steps(state, key, batches, play)
        return state, _told(diagnostics, layer)

    return over_seeds(one)(state, keys, params, data)


def train_probe(
    keys: Key[Array, " S"], params: Any, data: Clean, layer: int, style: Style, epochs: int
) -> tuple[Any, dict[str, np.ndarray]]:
    """DiffMask on one state: the probes, and the training curves, (seeds, epochs) each."""
    state, curves = start(keys, data, layer=layer, style=style), []
    how = {
        "layer": layer,
        "style": style,
        "reading": reading_in_batches(data.inputs.valid),
    }
    for number in followed(range(epochs), f"DiffMask, state {layer}", "epochs"):
        state, means = epoch(state, keys, params, data, number, **how)
        curves.append(means)
    stacked = jax.tree.map(lambda *values: np.stack(values, axis=1), *jax.device_get(curves))
    return state.probe.slow, stacked


def _told(diagnostics: Diagnostics, layer: int) -> dict[str, Array]:
    """The curves' values for an epoch on one state, each a mean."""
    told = {"loss": jnp.mean(diagnostics.loss)}
    for name in ("divergence", "masked", "agreement", "multiplier"):
        told[name] = jnp.mean(getattr(diagnostics, name)[..., layer])
    return told


@functools.partial(jax.jit, static_argnums=2)
def keep_probability(probe: Any, data: Clean, layer: int) -> Float[Array, "S N T"]:
    """DiffMask's attribution to one state."""
    log_keep = jax.vmap(functools.partial(log_keep_everywhere, GAME))(probe, data)
    return jnp.exp(log_keep[:, layer])


def mean_keep(
    keep: Float[Array, "S N T"], valid: Bool[Array | np.ndarray, "S N T"]
) -> Float[Array, " S"]:
    """Mean keep probability over all valid positions of each seed."""
    return jnp.sum(jnp.where(valid, keep, 0.0), axis=(1, 2)) / jnp.sum(valid, axis=(1, 2))
