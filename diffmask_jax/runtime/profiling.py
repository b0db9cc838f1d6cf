"""A trace of a few calls of the device, for xprof or TensorBoard to open."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

CALLS = 4


class Trace:
    """A context manager that traces `CALLS` calls in a row, from the first that is warm.

    The trace goes to folder/plugins/profile, where TensorBoard finds it when it shows the folder.
    Without a folder nothing is traced.
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
        """What the function gives; `step` names the call in the trace.

        warm: whether the call's program is compiled already, which would fill the trace otherwise.
        """
        if self._left and not self._running and warm:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # would hide the device's work behind Python's frames
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
        """What has become of the trace, for people."""
        if self._left == CALLS:
            return "the run has ended before a call could be traced"
        return (
            f"{CALLS - self._left} calls are traced in {self._folder}/plugins/profile: "
            f"xprof {self._folder}, or tensorboard --logdir {self._folder} with its profile plugin"
        )

    def _stop(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
