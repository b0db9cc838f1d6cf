"""The program of a run's calls, one on every device, and what each call of it is given."""

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
from diffmask_jax.game.objective import Clean, Diagnostics, Game, clean_pass
from diffmask_jax.game.players import Players
from diffmask_jax.game.steps import Play, TrainState
from diffmask_jax.runtime import devices
from diffmask_jax.training import setup
from diffmask_jax.training.calls import Chunk, agreed
from diffmask_jax.training.clean_states import CleanStates, look_up
from diffmask_jax.training.config import RunConfig

PROGRAMS = 8  # of games that a process has played last, which stay

CleanPasses = tuple[Callable[[batches.Batch], tuple[Any, Any]], Callable[[Any, Any], Clean]]
"""A chunk of batches -> (what all steps share, an entry a step), and these two -> a clean pass."""


def clean_passes(game: Game, params: Any, stored: CleanStates | None) -> CleanPasses:
    """Where steps have their clean passes from: looked up, or by the model if there are none."""
    if stored is not None:
        return stored.of, look_up
    return lambda batch: (params, batch.inputs), _by_model(game)


@functools.lru_cache(maxsize=PROGRAMS)
def _by_model(game: Game) -> Callable[[Any, Any], Clean]:
    return functools.partial(clean_pass, game)


def program(
    config: RunConfig, game: Game, fetch: Callable[[Any, Any], Clean], mesh: Mesh
) -> Callable[..., tuple[TrainState, Diagnostics, Array]]:
    """A `Caller`'s program: the steps of one call on every device.

    (state, (the run's seed, the model's parameters, what all steps share), (an entry a step,
    notices a device)) -> (state, diagnostics a step, the largest notice). The state that it is
    given is overwritten. The seed is an argument, so that one compiled program serves all seeds;
    runs of one process that differ in nothing else of the game share what was traced, too.
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
    """What the calls after a step are given: this host's rows, on its devices.

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
