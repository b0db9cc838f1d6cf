"""A trace of a few compiled calls, to be opened with xprof or TensorBoard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

CALLS = 4


class Trace:
    """A context manager that traces `CALLS` consecutive calls, starting with the first warm one.

    The trace goes to folder/plugins/profile, where TensorBoard looks for it. Without a folder
    nothing is traced.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._left = 0 if folder is None else CALLS
        self._running = False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def call(self, function: Callable[..., Any], *arguments: Any, step: int, warm: bool) -> Any:
        """Call a function, and return its result; `step` names the call in the trace.

        warm: whether the program is compiled already; a compilation would fill the trace
        """
        if self._left and not self._running and warm:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # Python's frames would hide the device's work
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            result = function(*arguments)
        if self._running:
            self._left -= 1
            if not self._left:
                jax.block_until_ready(result)
                self._stop()
        return result

    def told(self) -> str:
        """The outcome of the tracing, for people."""
        if self._left == CALLS:
            return "the run ended before a call could be traced"
        return (
            f"traced {CALLS - self._left} calls into {self._folder}/plugins/profile: open them "
            f"with xprof {self._folder}, or tensorboard --logdir {self._folder} with its profile "
            "plugin"
        )

    def _stop(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
