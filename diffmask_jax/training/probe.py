"""Training a probe on a text classifier: from texts to a run folder with the best probe in it."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from diffmask_jax.analysis import faithfulness
from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.game import probes, steps
from diffmask_jax.game.objective import Clean, Diagnostics, Game, clean_pass
from diffmask_jax.game.optimizers import Rates
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.runtime import devices, distributed
from diffmask_jax.runtime.checkpoints import Checkpoints, newest_whole
from diffmask_jax.runtime.compilations import Compilations
from diffmask_jax.runtime.preemption import Notice, Stopped, Watch
from diffmask_jax.runtime.prefetch import prefetched
from diffmask_jax.runtime.profiling import Trace
from diffmask_jax.training import run_folder
from diffmask_jax.training.calls import Caller, Chunk, agreed, is_due, play
from diffmask_jax.training.clean_states import CleanStates, look_up
from diffmask_jax.training.run_folder import RunConfig
from diffmask_jax.training.run_log import RunLog, check_finite, is_validated

VALIDATION_BATCH = 32
AHEAD = 2  # chunks of batches that are made and placed while the device works

Source = tuple[Callable[[batches.Batch], tuple[Any, Any]], Callable[[Any, Any], Clean]]
"""A chunk of batches -> (what all steps share, an entry a step), and these two -> a clean pass."""


def fit(
    config: RunConfig,
    folder: Path,
    model: Checkpoint,
    train: list[Encoded],
    dev: list[Encoded],
    passes: CleanStates | None = None,
    profile: bool = False,
) -> dict[str, float] | None:
    """Train to the configured number of steps, from the newest checkpoint if there is one.

    The state is saved before every validation and, where those are far apart, by the clock; SIGTERM
    lets the device finish its call, saves and raises `Stopped`. None of this shows in the result.

    passes: the clean states of `train`, to be looked up instead of computed at every step.
    profile: trace a few calls into the folder (`profiling.Trace`).
    Gives the validation scores of the probe kept in `folder`, None if none was ever feasible. A
    finished run is left as it is. All processes call it alike, and the first one writes.

    Raises: UserError if the devices do not divide a batch, the numbers stop being finite, no
    checkpoint is whole any more, or the folder cannot be written.
    """
    mesh = devices.data_mesh()
    devices.check_divides(config.batch_size, mesh, config.accumulate)
    if is_finished(config, folder, steps_done(folder)):
        return distributed.by_first(lambda: _kept_scores(folder))
    game = run_folder.make_game(config, model.model, model.config.width)
    params = devices.place(model.params, mesh, devices.WHOLE)
    feed, fetch = _computed(game, params) if passes is None else (passes.of, look_up)
    advance = _program(config, game, fetch, mesh)
    validate = _validator(config, game, params, dev, model.config.positions, mesh)

    def judge(state: steps.TrainState, step: int) -> None:
        with programs.of("validation"):
            scores = validate(state)
        # In this order: a step whose scores are written is not judged again.
        if distributed.is_first():
            _keep_if_best(config, folder, state, scores)
        log.validation(step, scores)

    # A second SIGTERM must not cut short the wait for the checkpoint that the first one asked for.
    alone = jax.process_count() == 1
    with Watch(alone) as watch, Checkpoints(folder / "checkpoints") as checkpoints:
        state = devices.place(_start(config, game, model, train), mesh, devices.WHOLE)
        if (latest := checkpoints.latest()) is not None:
            state = checkpoints.restore(latest, state)
        step, notice = int(state.step), Notice.NONE
        chunks = _chunks(config, train, model.config.positions, step, feed, params, mesh)
        with (
            RunLog(folder, step) as log,
            Compilations() as programs,
            Trace(folder if profile and distributed.is_first() else None) as trace,
            contextlib.closing(prefetched(chunks, AHEAD)) as ahead,
        ):
            if is_due(config, step) and not _is_validated(folder, step):  # stopped in between
                judge(state, step)
            call = Caller(advance, ahead, mesh, watch, programs, trace)
            for reached, notice in play(config, state, call, log):
                step = int(reached.step)
                check_finite(step, reached)
                log.flush()
                with programs.of("checkpoint"):
                    checkpoints.save(step, reached)
                watch.saved()
                if is_due(config, step) and notice != Notice.STOP:
                    judge(reached, step)
            log.ending(programs)
    if profile:
        distributed.say(trace.told())
    if notice == Notice.STOP:
        raise Stopped(step)
    return distributed.by_first(lambda: _kept_scores(folder))


def steps_done(folder: Path) -> int:
    """How far the training in a run folder has come: the step of its newest checkpoint, or 0."""
    return newest_whole(folder / "checkpoints") or 0


def is_finished(config: RunConfig, folder: Path, done: int) -> bool:
    """Whether a run that has come to step `done` has come to its end, validated."""
    return done >= config.steps and _is_validated(folder, done)


def _is_validated(folder: Path, step: int) -> bool:
    return distributed.by_first(lambda: is_validated(folder, step))


def _rates(config: RunConfig) -> Rates:
    return Rates(config.probe_rate, config.baseline_rate, config.multiplier_rate, config.warmup)


def _start(
    config: RunConfig, game: Game, model: Checkpoint, train: list[Encoded]
) -> steps.TrainState:
    """λ = 1, open gates, and baselines at the [MASK] embedding or the mean of each state."""
    layers = len(model.model.layers)
    if config.gate == "input":
        mask = np.full((1, 1), model.tokenizer.mask_token_id, np.int32)
        inputs = TextInputs(mask, np.zeros_like(mask), np.ones_like(mask, bool))
        embed = jax.jit(lambda params, inputs: game.model.states(params, inputs)[1][0][0, 0])
        baselines = [embed(model.params, inputs)]
    else:
        first = batches.pad(train[:256], max(len(text.ids) for text in train[:256]))
        states = jax.jit(game.model.states)(model.params, first)[1]
        baselines = [statistics(state, first.valid).mean for state in states]
    states = (jnp.zeros((1, 1, model.config.width)),) * layers
    probe = probes.init(jax.random.key(config.seed), game.probe, states, baselines)
    return steps.init(probe, layers, _rates(config))


def _computed(game: Game, params: Any) -> Source:
    """Clean passes by the model at every step."""
    return lambda batch: (params, batch.inputs), functools.partial(clean_pass, game)


def _chunks(
    config: RunConfig,
    train: list[Encoded],
    limit: int,
    step: int,
    feed: Callable[[batches.Batch], tuple[Any, Any]],
    params: Any,
    mesh: Mesh,
) -> Iterator[Chunk]:
    """What the calls after a step are given: this host's rows, on its devices."""
    stream = batches.shuffled(
        train, config.batch_size, config.steps_per_call, config.seed,
        start=step // config.steps_per_call, limit=limit,
        rows=devices.rows_here(config.batch_size, mesh),
    )  # fmt: skip
    for batch in stream:
        stored, entries = feed(batch)
        placed = devices.place(entries, mesh, devices.STEPS)
        yield Chunk((params, stored), placed, np.asarray(batch.inputs.valid))


def _program(
    config: RunConfig, game: Game, fetch: Callable[[Any, Any], Clean], mesh: Mesh
) -> Callable[..., tuple[steps.TrainState, Diagnostics, Array]]:
    """A `Caller`'s program: the steps of one call on every device."""
    draw_layer = steps.LAYER_DRAWS[config.layers](len(game.model.layers))

    def advance(
        state: steps.TrainState, given: tuple[Any, Any], entries: tuple[Any, Array]
    ) -> tuple[steps.TrainState, Diagnostics, Array]:
        (params, stored), (batches, notices) = given, entries
        state, seen = steps.steps(
            state, jax.random.key(config.seed), batches, lambda entry: fetch(stored, entry),
            draw_layer, game=game, rates=_rates(config), model_params=params, axes=(devices.AXIS,),
            parts=config.accumulate,
        )  # fmt: skip
        return state, seen, agreed(notices, seen)

    return jax.jit(devices.per_device(advance, mesh), donate_argnums=0)


def _validator(
    config: RunConfig, game: Game, params: Any, dev: list[Encoded], limit: int, mesh: Mesh
) -> Callable[[steps.TrainState], dict[str, float]]:
    """Mean scores over all layers on evenly spaced development texts, gates sampled."""
    count = min(config.validation_texts, len(dev))
    chosen = [dev[i] for i in np.linspace(0, len(dev) - 1, count).astype(int)]
    outcome_of = functools.partial(faithfulness.outcome_of, game, faithfulness.sampled)
    evaluate = devices.spread(outcome_of, mesh)

    def validate(state: steps.TrainState) -> dict[str, float]:
        outcome = faithfulness.measure(
            functools.partial(evaluate, params, state.probe.slow),
            batches.in_order(chosen, devices.round_up(VALIDATION_BATCH, mesh), limit),
            jax.random.key(config.seed),
        )
        return faithfulness.table(outcome, None)[-1]

    return validate


def _keep_if_best(
    config: RunConfig, folder: Path, state: steps.TrainState, scores: dict[str, float]
) -> None:
    """Keep the probe if it is feasible and masks more than the one kept so far."""
    feasible = (
        scores["divergence"] <= config.tolerance * config.margin
        and scores["agreement"] >= config.min_agreement
    )
    best = _kept_scores(folder)
    if feasible and (best is None or scores["masked"] > best["masked"]):
        params = jax.device_get(state.probe.slow)
        run_folder.save_probe(folder, params, {**scores, "step": int(state.step)})


def _kept_scores(folder: Path) -> dict[str, float] | None:
    return run_folder.load_probe(folder)[1] if (folder / "probe.safetensors").exists() else None
