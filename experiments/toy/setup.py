"""The toy experiment's data, counting models and probes, for all seeds at once under `vmap`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key
from tqdm import tqdm

from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.game import probes, steps
from diffmask_jax.game.objective import (
    Clean,
    Diagnostics,
    Game,
    clean_pass,
    log_keep_everywhere,
    mean_log_keep,
)
from diffmask_jax.game.players import Rates, authors
from diffmask_jax.models import toy
from diffmask_jax.models.toy import TOY, ToyInputs
from diffmask_jax.tasks.toy import ToyData, generate, in_query

TRAINING, VALIDATION, BATCH = 9000, 1000, 128
MODEL_EPOCHS = 50
GAME = Game(TOY, probes.hidden_probe(32), 0.05, mean_log_keep)


class Split(NamedTuple):
    """One part of the data of every seed; truth marks the positions that hold n or m."""

    inputs: ToyInputs
    label: Array
    truth: Array


def make_data(seeds: list[int]) -> tuple[Split, Split]:
    """Training and validation examples, each seed with a draw of its own along axis 0."""
    drawn = [generate(seed, TRAINING + VALIDATION) for seed in seeds]

    def split(part: slice) -> Split:
        pieces = [ToyData(*(array[part] for array in data)) for data in drawn]
        data = jax.tree.map(lambda *fields: jnp.asarray(np.stack(fields)), *pieces)
        truth = jnp.asarray(np.stack([in_query(piece) for piece in pieces]))
        return Split(ToyInputs(data.query, data.digits, data.valid), data.label, truth)

    return split(slice(TRAINING)), split(slice(TRAINING, None))


def seed_keys(seeds: list[int]) -> Key[Array, " S"]:
    """One key a seed, the same whichever other seeds run beside it."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])


def _batches(key: Key[Array, ""], epoch: Array | int) -> Array:
    order = jax.random.permutation(jax.random.fold_in(key, epoch), TRAINING)
    return order[: TRAINING // BATCH * BATCH].reshape(-1, BATCH)


@jax.jit
@jax.vmap
def train_model(key: Key[Array, ""], data: Split) -> Any:
    """Adam 1e-3 on the binary cross-entropy, batches of 128, 50 epochs."""
    init_key, order_key = jax.random.split(key)
    optimizer = optax.adam(1e-3)
    params = toy.init(init_key)

    def loss(params: Any, rows: Array) -> Array:
        logits, _ = TOY.states(params, jax.tree.map(lambda a: a[rows], data.inputs))
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, data.label[rows]))

    def step(carry: Any, rows: Array) -> tuple[Any, None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry: Any, number: Array) -> tuple[Any, None]:
        return jax.lax.scan(step, carry, _batches(order_key, number))

    (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jnp.arange(MODEL_EPOCHS))
    return params


@jax.jit
@jax.vmap
def accuracy(params: Any, data: Split) -> Float[Array, ""]:
    """Share of examples whose label the model predicts."""
    logits, _ = TOY.states(params, data.inputs)
    return jnp.mean(TOY.family.prediction(logits) == data.label)


@jax.jit
@jax.vmap
def clean(params: Any, data: Split) -> Clean:
    """The model's states of a whole split: frozen, so computed once."""
    return clean_pass(GAME, params, data.inputs)


@functools.partial(jax.jit, static_argnames=("layer", "rates"))
def start(keys: Key[Array, " S"], data: Clean, *, layer: int, rates: Rates) -> steps.TrainState:
    """Every seed's players before the first step; baselines at the mean of each state."""

    def one(key: Key[Array, ""], data: Clean) -> steps.TrainState:
        means = [statistics(state, data.inputs.valid).mean for state in data.states]
        probe = probes.init(jax.random.fold_in(key, layer), GAME.probe, data.states, means)
        return steps.init(probe, len(TOY.layers), authors(rates))

    return jax.vmap(one)(keys, data)


@functools.partial(jax.jit, static_argnames=("layer", "rates"), donate_argnums=0)
def epoch(
    state: steps.TrainState,
    keys: Key[Array, " S"],
    params: Any,
    data: Clean,
    number: Array | int,
    *,
    layer: int,
    rates: Rates,
) -> tuple[steps.TrainState, dict[str, Array]]:
    """One epoch of every seed on one state, and its mean diagnostics; the old state is consumed."""

    def one(state: steps.TrainState, key: Array, params: Any, data: Clean) -> Any:
        def fetch(rows: Array) -> Clean:
            return jax.tree.map(lambda a: a[rows], data)

        state, diagnostics = steps.steps(
            state,
            key,
            _batches(key, number),
            fetch,
            lambda key, examples: layer,
            game=GAME,
            players=authors(rates),
            model_params=params,
        )
        return state, _told(diagnostics, layer)

    return jax.vmap(one)(state, keys, params, data)


def train_probe(
    keys: Key[Array, " S"], params: Any, data: Clean, layer: int, rates: Rates, epochs: int
) -> tuple[Any, dict[str, np.ndarray]]:
    """DiffMask on one state; gives the probes and the training curves, (seeds, epochs) each."""
    state, curves = start(keys, data, layer=layer, rates=rates), []
    for number in tqdm(range(epochs), f"DiffMask, state {layer}", disable=None, leave=False):
        state, means = epoch(state, keys, params, data, number, layer=layer, rates=rates)
        curves.append(means)
    stacked = jax.tree.map(lambda *values: np.stack(values, axis=1), *jax.device_get(curves))
    return state.probe.slow, stacked


def _told(diagnostics: Diagnostics, layer: int) -> dict[str, Array]:
    """What an epoch on one state tells, a mean a curve."""
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
