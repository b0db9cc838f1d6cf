"""Our side of the race: training steps as `diffmask train` takes them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffmask_jax.game import steps
from diffmask_jax.runtime import devices
from diffmask_jax.runtime.memory import MIB
from diffmask_jax.runtime.preemption import Notice
from diffmask_jax.training import program as training
from diffmask_jax.training.clean_states import CleanStates
from experiments.throughput.course import Alone, Chunk, Setup
from experiments.throughput.race import Contender


def ours(
    setup: Setup,
    examples: list[Chunk],
    passes: CleanStates | None = None,
    ready: Mapping[int, Any] | None = None,
) -> Contender:
    """Several steps per call, with one program per length, compiled here for the examples' lengths.

    passes: the clean states of all texts, to be looked up instead of computed
    ready: length -> the result of `program`, if it is compiled already
    """
    mesh = devices.data_mesh()
    params = devices.place(setup.classifier.params, mesh, devices.WHOLE)
    state = _fresh(setup, mesh)
    start, programs = time.perf_counter(), dict(ready or {})
    for chunk in examples:
        if chunk.length not in programs:
            programs[chunk.length] = _compiled(setup, params, passes, state, chunk, mesh)
    seconds = time.perf_counter() - start

    def run(chunk: Chunk) -> None:
        nonlocal state
        first = np.int32(chunk.number * setup.config.steps_per_call)
        state = state._replace(step=devices.place(first, mesh, devices.WHOLE))
        arguments = _arguments(setup, params, passes, chunk, mesh)
        state, diagnostics, _ = programs[chunk.length](state, *arguments)
        jax.block_until_ready((state, diagnostics))

    return Contender(run, compiling=seconds)


def program(setup: Setup, chunk: Chunk) -> Any:
    """The compiled program that takes a chunk's steps on all devices."""
    mesh = devices.data_mesh()
    params = devices.place(setup.classifier.params, mesh, devices.WHOLE)
    return _compiled(setup, params, None, _fresh(setup, mesh), chunk, mesh)


def working_mib(program: Any) -> float:
    """MiB that a compiled program works in on each device, beside what it is given and returns."""
    return program.memory_analysis().temp_size_in_bytes / MIB


def ours_alone(build: Alone, precision: str) -> Callable[[], None]:
    """A function that only takes the steps of a chunk."""
    setup, _, chunk = build(precision)
    contender = ours(setup, [chunk])
    return lambda: contender.run(chunk)


def _fresh(setup: Setup, mesh: Mesh) -> steps.TrainState:
    state = steps.init(setup.probe, len(setup.game.model.layers), setup.players)
    # Copies, since the first call overwrites its state.
    return devices.place(jax.tree.map(np.array, state), mesh, devices.WHOLE)


def _compiled(
    setup: Setup,
    params: Any,
    passes: CleanStates | None,
    state: steps.TrainState,
    chunk: Chunk,
    mesh: Mesh,
) -> Any:
    """Training's own program, for chunks of one length."""
    _, fetch = training.clean_passes(setup.game.model, params, passes)
    program = training.program(setup.config, setup.game, fetch, mesh)
    arguments = _arguments(setup, params, passes, chunk, mesh)
    return program.lower(state, *arguments).compile()  # type: ignore[attr-defined]


def _arguments(
    setup: Setup, params: Any, passes: CleanStates | None, chunk: Chunk, mesh: Mesh
) -> tuple[Any, Any]:
    """The arguments of a call besides the state, as in `training.calls.Caller`."""
    feed, _ = training.clean_passes(setup.game.model, params, passes)
    stored, entries = feed(chunk.batch)
    notices = np.full((1, len(mesh.local_devices)), Notice.NONE, np.int32)
    seed = devices.place(np.uint32(setup.config.seed), mesh, devices.WHOLE)
    return (seed, params, stored), devices.place((entries, notices), mesh, devices.STEPS)
