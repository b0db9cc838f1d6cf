"""Our side of the race: training steps as `diffmask train` takes them."""

import functools
import time
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffmask_jax import devices, training
from diffmask_jax.clean_states import CleanStates, look_up
from diffmask_jax.data.batches import Batch
from diffmask_jax.objective import clean_pass
from experiments.throughput_course import Chunk, Setup
from experiments.throughput_race import Contender


def ours(
    setup: Setup, examples: list[Chunk], passes: CleanStates | None = None, mesh: Mesh | None = None
) -> Contender:
    """Several steps a call, one program a length, compiled here for those of the examples.

    passes: the clean states of all texts, to be looked up. mesh: all devices, unless given.
    """
    mesh = mesh or devices.data_mesh()
    params = devices.place(setup.checkpoint.params, mesh, devices.WHOLE)
    fresh = training.init(setup.probe, len(setup.game.model.layers), setup.rates)
    state = devices.place(fresh, mesh, devices.WHOLE)

    def arguments(batch: Batch) -> Any:
        stored, entries = (params, batch.inputs) if passes is None else passes.of(batch)
        return (params, stored), devices.place(entries, mesh, devices.STEPS)

    step = functools.partial(_steps, setup, passes is not None)
    advance = jax.jit(devices.per_device(step, mesh), donate_argnums=0)
    start, programs = time.perf_counter(), {}
    for chunk in examples:
        if chunk.length not in programs:
            lowered = advance.lower(state, *arguments(chunk.batch))
            programs[chunk.length] = lowered.compile()
    seconds = time.perf_counter() - start

    def run(chunk: Chunk) -> None:
        nonlocal state
        first = np.int32(chunk.number * setup.config.steps_per_call)
        state = state._replace(step=devices.place(first, mesh, devices.WHOLE))
        state, seen = programs[chunk.length](state, *arguments(chunk.batch))
        jax.block_until_ready((state, seen))

    return Contender(run, compiling=seconds)


def _steps(setup: Setup, cached: bool, state: training.TrainState, given: Any, entries: Any) -> Any:
    params, stored = given
    fetch = look_up if cached else functools.partial(clean_pass, setup.game)
    return training.steps(
        state, setup.key, entries, lambda entry: fetch(stored, entry), setup.draw_layer,
        game=setup.game, rates=setup.rates, model_params=params, axes=(devices.AXIS,),
    )  # fmt: skip
