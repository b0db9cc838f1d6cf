"""Training a probe on a text classifier: from texts to a run folder with the best probe."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.game.objective import Game
from diffmask_jax.game.steps import TrainState
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import devices, distributed
from diffmask_jax.runtime.checkpoints import Checkpoints, newest_whole
from diffmask_jax.runtime.compilations import Compilations
from diffmask_jax.runtime.messages import show
from diffmask_jax.runtime.preemption import Notice, Stopped, Watch
from diffmask_jax.runtime.prefetch import prefetched
from diffmask_jax.runtime.profiling import Trace
from diffmask_jax.training import (
    cautions,
    curve_picture,
    keeping,
    old_checkpoints,
    run_folder,
    setup,
)
from diffmask_jax.training.calls import Caller, is_due, play
from diffmask_jax.training.clean_states import CleanStates
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.program import chunks, clean_passes, program
from diffmask_jax.training.progress import Progress
from diffmask_jax.training.run_log import RunLog, check_finite, is_validated

VALIDATION_BATCH = 32
AHEAD = 2  # chunks of batches that are prepared and placed while the device works


class Texts(NamedTuple):
    """The texts that a probe is trained on, and those that it is validated on."""

    train: list[Encoded]
    dev: list[Encoded]


def fit(
    config: RunConfig,
    folder: Path,
    model: Classifier,
    texts: Texts,
    passes: CleanStates | None = None,
    profile: bool = False,
) -> dict[str, float] | None:
    """Train until the game has settled, at most the configured number of steps, from the newest
    checkpoint if there is one. The authors' game takes all its steps.

    The state is saved before every validation and, if these are far apart, by the clock. After
    SIGTERM, SIGHUP or Ctrl-C the device finishes its call, the state is saved, and `Stopped` is
    raised; a single process that is validating raises it at once. The result does not depend on any
    of this.

    passes: the clean states of the training texts, to be looked up instead of computed
    profile: trace a few calls into the folder (`profiling.Trace`)

    Returns the validation scores of the probe kept in `folder`: the last one; in the authors' game
    the feasible one that masks most, and None if there was none. A finished run is left as it is.
    All processes make the same call, and the first one writes.

    Raises: UserError if the devices do not divide a batch, the numbers stop being finite, no
    checkpoint is intact, or the folder cannot be written.
    """
    mesh = devices.data_mesh()
    devices.check_divides(config.batch_size, mesh, config.accumulate)
    if is_finished(config, folder, steps_done(folder)):
        return distributed.by_first(lambda: keeping.kept_scores(folder))
    game = setup.make_game(config, model.network, model.config.width)
    params = devices.place(model.params, mesh, devices.WHOLE)
    feed, fetch = clean_passes(game.model, params, passes)
    advance = program(config, game, fetch, mesh)
    validate = _validator(config, game, params, texts.dev, model.config.positions, mesh)

    with contextlib.ExitStack() as opened:
        # Outside of the checkpoints: a second SIGTERM must not cut short the wait for the last one.
        watch = opened.enter_context(Watch(jax.process_count() == 1))
        checkpoints = opened.enter_context(Checkpoints(folder / "checkpoints"))
        start = _start(config, game, model, texts.train, checkpoints, mesh)
        done, speaks = int(start.step), distributed.is_first()
        shared = devices.place(np.uint32(config.seed), mesh, devices.WHOLE), params
        stream = chunks(config, texts.train, model.config.positions, done, feed, shared, mesh)
        log = opened.enter_context(RunLog(folder, done, len(game.model.layers)))
        programs = opened.enter_context(Compilations())
        trace = opened.enter_context(Trace(folder if profile and speaks else None))
        ahead = opened.enter_context(contextlib.closing(prefetched(stream, AHEAD)))
        progress = opened.enter_context(Progress(config.steps, done, config.margin, speaks))
        progress.caution(cautions.before(config, len(game.model.layers)))
        call = Caller(advance, ahead, mesh, watch, programs, progress, trace)
        judge = functools.partial(_judge, config, folder, game.model.layers, validate, log, call)
        step, notice = _played(config, folder, start, call, log, checkpoints, judge)
        log.ending(programs)
    if speaks and not notice.stops:
        curve_picture.draw(folder, config.margin, game.model.layers)
    if profile:
        distributed.say(trace.told())
    # The run may be whole by now; but whoever called it is to stop as well.
    if (notice := watch.heed(notice)).stops:
        raise Stopped(notice, step)
    return distributed.by_first(lambda: keeping.kept_scores(folder))


def steps_done(folder: Path) -> int:
    """The step of the newest checkpoint in a run folder, or 0."""
    return newest_whole(folder / "checkpoints") or 0


def is_finished(config: RunConfig, folder: Path, done: int) -> bool:
    """Whether a run at step `done` is at its end, and validated."""
    settled = distributed.by_first(lambda: _has_settled(folder, done))
    return (done >= config.steps or settled) and _is_validated(folder, done)


def _has_settled(folder: Path, step: int) -> bool:
    last = run_folder.load_last_validation(folder)
    return last.settled and last.step == step


def _start(
    config: RunConfig,
    game: Game,
    model: Classifier,
    train: list[Encoded],
    checkpoints: Checkpoints,
    mesh: Mesh,
) -> TrainState:
    """The newest checkpoint, on all devices, or the state before the first step."""
    distributed.say(
        "compiling the model to initialise the probe; compiled programs are kept on disk for "
        "later runs of the same sizes"
    )
    fresh = devices.place(setup.first_state(config, game, model, train), mesh, devices.WHOLE)
    if (latest := checkpoints.latest()) is None:
        return fresh
    return old_checkpoints.restore(checkpoints, latest, fresh, setup.players_of(config))


def _played(
    config: RunConfig,
    folder: Path,
    start: TrainState,
    call: Caller,
    log: RunLog,
    checkpoints: Checkpoints,
    judge: Callable[[TrainState], None],
) -> tuple[int, Notice]:
    """Train to the end of the run or to a notice to stop; returns the step reached and the notice.

    A state is saved before it is validated, in case the validation is interrupted.
    """
    step, notice = int(start.step), Notice.NONE
    if is_due(config, step) and not _is_validated(folder, step):  # stopped before it was validated
        judge(start)
    if is_finished(config, folder, step):
        return step, notice
    for state, notice in play(config, start, call, log):
        step = int(state.step)
        check_finite(step, state)
        log.flush()
        with call.programs.of("checkpoint"):
            checkpoints.save(step, state)
        call.watch.saved()
        if is_due(config, step) and not notice.stops:
            checkpoints.wait()  # only then is everything saved
            judge(state)
            if is_finished(config, folder, step):
                break
    return step, notice


def _judge(
    config: RunConfig,
    folder: Path,
    layers: Sequence[str],
    validate: Callable[[TrainState], list[dict[str, float]]],
    log: RunLog,
    call: Caller,
    state: TrainState,
) -> None:
    """Validate a state, keep its probe if it is the best, and say so."""
    if not call.programs.is_warm("validation"):
        call.progress.compiling("the validation")
    with call.programs.of("validation"), call.watch.nothing_to_lose():
        table = validate(state)
    # In this order, since a step whose scores are written is not judged again.
    if distributed.is_first() and (
        verdict := keeping.keep(config, folder, layers, state, table, log.curves)
    ):
        show(verdict)
    log.validation(int(state.step), table[-1])
    call.progress.caution(cautions.during(config, layers, log.curves))


def _is_validated(folder: Path, step: int) -> bool:
    """Whether a step is validated and its probe not gone since."""
    return distributed.by_first(lambda: is_validated(folder, step) and keeping.has_probe(folder))


def _validator(
    config: RunConfig, game: Game, params: Any, dev: list[Encoded], limit: int, mesh: Mesh
) -> Callable[[TrainState], list[dict[str, float]]]:
    """Computes `faithfulness.table` on evenly spaced development texts, with sampled gates."""
    count = min(config.validation_texts, len(dev))
    chosen = [dev[i] for i in np.linspace(0, len(dev) - 1, count).astype(int)]
    rows = devices.round_up(min(VALIDATION_BATCH, count), mesh)  # each costs a pass a layer
    evaluate = devices.spread(faithfulness.outcome_of, mesh, game, faithfulness.sampled)

    def validate(state: TrainState) -> list[dict[str, float]]:
        outcome = faithfulness.measure(
            functools.partial(evaluate, params, state.probe.slow),
            batches.in_order(chosen, rows, limit),
            jax.random.key(config.seed),
        )
        return faithfulness.table(outcome)

    return validate
