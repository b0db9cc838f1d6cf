"""The compiled calls that make up a run, one after another, and when to pause between two."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from diffmask_jax.game.objective import Diagnostics
from diffmask_jax.game.steps import TrainState
from diffmask_jax.runtime import devices
from diffmask_jax.runtime.compilations import Compilations
from diffmask_jax.runtime.preemption import Notice, Watch
from diffmask_jax.runtime.profiling import Trace
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.progress import Progress
from diffmask_jax.training.run_log import RunLog


class Chunk(NamedTuple):
    """The arguments of a call, on the device: those that all steps share, and an entry per step.

    valid: the valid positions in this host's rows of the batches
    """

    given: Any
    entries: Any
    valid: Bool[np.ndarray, "S B T"]


class Report(NamedTuple):
    """The diagnostics of one call, on their way to the host.

    step: the call's last step
    valid: the valid positions in this host's rows of its batches
    """

    step: int
    diagnostics: Diagnostics
    notice: Int[Array, ""]
    valid: Bool[np.ndarray, "S B T"]


class Caller(NamedTuple):
    """Everything that a call needs besides the state.

    advance: the program, (state, shared arguments, (entries, a notice per device)) ->
        (state, diagnostics per step, the largest notice); it may overwrite its argument `state`
    """

    advance: Callable[..., tuple[TrainState, Diagnostics, Array]]
    chunks: Iterator[Chunk]
    mesh: Mesh
    watch: Watch
    programs: Compilations
    progress: Progress
    trace: Trace

    def __call__(self, state: TrainState, step: int) -> tuple[TrainState, Report]:
        """Dispatch the call that ends with `step`, without waiting for it."""
        given, entries, valid = next(self.chunks)
        # All processes must pause at the same step, whichever of them receives a notice: each
        # notice travels with the batches, and the largest of all comes back.
        notices = np.full((1, len(self.mesh.local_devices)), self.watch.notice(), np.int32)
        entries = entries, devices.place(notices, self.mesh, devices.STEPS)
        kind = valid.shape
        if not (warm := self.programs.is_warm(kind)):
            self.progress.compiling(f"the steps for texts of up to {kind[-1]} tokens")
        with self.programs.of(kind):
            state, diagnostics, notice = self.trace.call(
                self.advance, state, given, entries, step=step, warm=warm
            )
        return state, Report(step, diagnostics, notice, valid)


def agreed(notices: Int[Array, "1 n"], diagnostics: Diagnostics) -> Int[Array, ""]:
    """The largest notice of all devices, inside the program, after its last step.

    It is reduced together with that step's diagnostics: all processes must communicate in the same
    order, and a reduction that depended on nothing could happen at any time.
    """
    last = jnp.stack([notices.max().astype(diagnostics.loss.dtype), diagnostics.loss[-1]])
    return jax.lax.pmax(last, devices.AXIS)[0].astype(notices.dtype)


def play(
    config: RunConfig, state: TrainState, call: Caller, log: RunLog
) -> Iterator[tuple[TrainState, Notice]]:
    """Train on, yielding the state whenever it must be saved, and the notice that is the reason.

    Ends after the last step, or after a notice to stop. The diagnostics of a call are read after
    the next one is dispatched, so that the device never waits for the host.
    """

    def read(report: Report) -> Notice:
        log.training(report.step, report.diagnostics, report.valid, call.progress)
        return call.watch.heed(int(report.notice))

    done = int(state.step)
    unread: list[Report] = []
    while done < config.steps:
        done += config.steps_per_call
        state, report = call(state, done)
        notice = max([call.watch.heed(Notice.NONE), *map(read, unread)])
        unread = [report]
        if notice or is_due(config, done):
            notice = max(notice, read(report))
            unread = []
            yield state, notice
            if notice.stops:
                return
            call.progress.paused()


def is_due(config: RunConfig, step: int) -> bool:
    """Whether the state after `step`, the last of a call, is to be validated."""
    return step > 0 and (
        step % config.validate_every < config.steps_per_call or step >= config.steps
    )
