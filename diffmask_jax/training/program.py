"""The compiled program of a run, for all devices, and the arguments of each of its calls."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from diffmask_jax.data import batches
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.game import steps
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Clean, Diagnostics, Game, clean_pass
from diffmask_jax.game.players import Players
from diffmask_jax.game.steps import Play, TrainState
from diffmask_jax.runtime import devices
from diffmask_jax.training import setup
from diffmask_jax.training.calls import Chunk, agreed
from diffmask_jax.training.clean_states import CleanStates, look_up
from diffmask_jax.training.config import RunConfig

PROGRAMS = 8  # compiled programs, of the games played last, that a process keeps

CleanPasses = tuple[Callable[[batches.Batch], tuple[Any, Any]], Callable[[Any, Any], Clean]]
"""A chunk of batches -> (shared arguments, an entry per step), and these two -> a clean pass."""


def clean_passes(model: Model, params: Any, stored: CleanStates | None) -> CleanPasses:
    """How steps get their clean passes: looked up, or computed if none are stored."""
    if stored is not None:
        return stored.of, look_up
    return lambda batch: (params, batch.inputs), _by_model(model)


@functools.lru_cache(maxsize=PROGRAMS)
def _by_model(model: Model) -> Callable[[Any, Any], Clean]:
    return functools.partial(clean_pass, model)


def program(
    config: RunConfig, game: Game, fetch: Callable[[Any, Any], Clean], mesh: Mesh
) -> Callable[..., tuple[TrainState, Diagnostics, Array]]:
    """A `Caller`'s program: the steps of one call on all devices.

    (state, (the run's seed, the model's parameters, shared arguments), (an entry per step, a notice
    per device)) -> (state, diagnostics per step, the largest notice). The given state is
    overwritten. The seed is an argument, so that one compiled program serves all seeds; within a
    process, runs of the same game also share its tracing.
    """
    players = setup.players_of(config)
    return _program(game, players, config.layers, config.accumulate, fetch, mesh)


@functools.lru_cache(maxsize=PROGRAMS)
def _program(
    game: Game,
    players: Players,
    layers: str,
    parts: int,
    fetch: Callable[[Any, Any], Clean],
    mesh: Mesh,
) -> Callable[..., tuple[TrainState, Diagnostics, Array]]:
    draw_layer = steps.LAYERS[layers](len(game.model.layers))

    def advance(
        state: TrainState, given: tuple[Array, Any, Any], entries: tuple[Any, Array]
    ) -> tuple[TrainState, Diagnostics, Array]:
        (seed, params, stored), (batches, notices) = given, entries
        look = functools.partial(fetch, stored)
        play = Play(game, players, params, look, draw_layer, axes=(devices.AXIS,), parts=parts)
        state, diagnostics = steps.steps(state, jax.random.key(seed), batches, play)
        return state, diagnostics, agreed(notices, diagnostics)

    return jax.jit(devices.per_device(advance, mesh), donate_argnums=0)


def chunks(
    config: RunConfig,
    train: list[Encoded],
    limit: int,
    step: int,
    feed: Callable[[batches.Batch], tuple[Any, Any]],
    shared: tuple[Array, Any],
    mesh: Mesh,
) -> Iterator[Chunk]:
    """The arguments of the calls after a step: this host's rows, on its devices.

    shared: the run's seed and the model's parameters, on the devices
    """
    stream = batches.shuffled(
        train,
        config.batch_size,
        config.steps_per_call,
        config.seed,
        start=step // config.steps_per_call,
        limit=limit,
        rows=devices.rows_here(config.batch_size, mesh),
    )
    for batch in stream:
        stored, entries = feed(batch)
        placed = devices.place(entries, mesh, devices.STEPS)
        yield Chunk((*shared, stored), placed, np.asarray(batch.inputs.valid))
