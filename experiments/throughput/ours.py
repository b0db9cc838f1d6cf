"""Our side of the race: training steps as `diffmask train` takes them."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from diffmask_jax.game import steps as training
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.runtime import devices
from diffmask_jax.training.clean_states import CleanStates, look_up
from experiments.throughput import data
from experiments.throughput.course import Chunk, Setup, longest, prepare
from experiments.throughput.data import Source
from experiments.throughput.race import Contender


def ours(
    setup: Setup,
    examples: list[Chunk],
    passes: CleanStates | None = None,
    ready: Mapping[int, Any] | None = None,
) -> Contender:
    """Several steps a call, one program a length, compiled here for those of the examples.

    passes: the clean states of all texts, to be looked up instead of computed
    ready: length -> what `program` has compiled already
    """
    mesh = devices.data_mesh()
    params = devices.place(setup.checkpoint.params, mesh, devices.WHOLE)
    state = _fresh(setup, mesh)
    start, programs = time.perf_counter(), dict(ready or {})
    for chunk in examples:
        if chunk.length not in programs:
            given = _given(params, passes, chunk, mesh)
            programs[chunk.length] = _advance(setup, passes, mesh).lower(state, *given).compile()
    seconds = time.perf_counter() - start

    def run(chunk: Chunk) -> None:
        nonlocal state
        first = np.int32(chunk.number * setup.config.steps_per_call)
        state = state._replace(step=devices.place(first, mesh, devices.WHOLE))
        state, seen = programs[chunk.length](state, *_given(params, passes, chunk, mesh))
        jax.block_until_ready((state, seen))

    return Contender(run, compiling=seconds)


def program(setup: Setup, chunk: Chunk) -> Any:
    """The compiled program that takes a chunk's steps on all devices."""
    mesh = devices.data_mesh()
    params = devices.place(setup.checkpoint.params, mesh, devices.WHOLE)
    given = _given(params, None, chunk, mesh)
    return _advance(setup, None, mesh).lower(_fresh(setup, mesh), *given).compile()


def alone(source: Source, dtype: DTypeLike, batch: int) -> Callable[[], None]:
    """What trains the input probe of a contest on its longest chunk and does nothing else."""
    contest = data.sst(source)
    setup = prepare(contest.checkpoint, "input", dtype, batch=batch)
    chunk = longest(setup, contest.texts)
    contender = ours(setup, [chunk])
    return lambda: contender.run(chunk)


def _fresh(setup: Setup, mesh: Mesh) -> training.TrainState:
    state = training.init(setup.probe, len(setup.game.model.layers), setup.rates)
    # Copies: the first call is given the memory of what it starts from.
    return devices.place(jax.tree.map(np.array, state), mesh, devices.WHOLE)


def _given(params: Any, passes: CleanStates | None, chunk: Chunk, mesh: Mesh) -> Any:
    """What a call takes beside the state: (parameters, what all steps share), an entry a step."""
    batch = chunk.batch
    stored, entries = (params, batch.inputs) if passes is None else passes.of(batch)
    return (params, stored), devices.place(entries, mesh, devices.STEPS)


def _advance(setup: Setup, passes: CleanStates | None, mesh: Mesh) -> Any:
    """As `training.probe.fit` makes it."""
    fetch = functools.partial(clean_pass, setup.game) if passes is None else look_up

    def steps(state: training.TrainState, given: Any, entries: Any) -> Any:
        params, stored = given
        return training.steps(
            state, setup.key, entries, lambda entry: fetch(stored, entry), setup.draw_layer,
            game=setup.game, rates=setup.rates, model_params=params, axes=(devices.AXIS,),
        )  # fmt: skip

    return jax.jit(devices.per_device(steps, mesh), donate_argnums=0)
