"""The logs that a training run writes, and the error if its numbers stop being finite."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files, tensors
from diffmask_jax.runtime.compilations import Compilations
from diffmask_jax.runtime.distributed import is_first
from diffmask_jax.runtime.files import write_in
from diffmask_jax.runtime.messages import show
from diffmask_jax.training.curve_log import CurveLog
from diffmask_jax.training.event_log import EventLog
from diffmask_jax.training.progress import Progress
from diffmask_jax.training.run_folder import VALIDATIONS
from diffmask_jax.training.settled import Curves


def check_finite(step: int, numbers: Any) -> None:
    """Raises: UserError if one of the numbers in a pytree is not finite."""
    tensors.check_finite(
        jax.device_get(numbers),
        f"the numbers are not finite at step {step}: lower --probe-rate or --multiplier-rate; the "
        "last checkpoint is from before that",
    )


class RunLog:
    """TensorBoard scalars, curves and validation lines, each step written once.

    Only the first process writes. What a killed run wrote after its last checkpoint, step `done`,
    is replaced as these steps are repeated.
    """

    def __init__(self, folder: Path, done: int, layers: int) -> None:
        self._file = folder / VALIDATIONS
        self._writes = is_first()
        self._events = EventLog(folder, done) if self._writes else None
        self._curves = CurveLog(folder, done, self._writes, layers)
        self._padded = self._positions = 0

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # An error that ends the run is reported already, and may be that these cannot be written.
        quietly = contextlib.suppress(UserError) if kind else contextlib.nullcontext()
        with quietly, contextlib.ExitStack() as closing:
            closing.callback(self._curves.close)
            if self._events:
                closing.callback(self._events.close)

    @property
    def curves(self) -> Curves:
        """The curves of all calls so far."""
        return self._curves.curves()

    def training(
        self, step: int, diagnostics: Any, valid: Bool[np.ndarray, "*B T"], progress: Progress
    ) -> None:
        """Log one call's diagnostics, and the share of padding in its batches.

        Raises: UserError if a loss is not finite.
        """
        check_finite(step, diagnostics)
        told = jax.device_get(diagnostics)
        by_layer = {name: np.mean(getattr(told, name), axis=0) for name in Curves._fields}
        self._curves.add(step, {name: values.tolist() for name, values in by_layer.items()})
        means = {"loss": float(np.mean(told.loss))}
        means |= {k: float(np.sum(by_layer[k])) for k in ("divergence", "masked", "agreement")}
        means["multiplier"] = float(np.sum(by_layer["multiplier"] * by_layer["played"]))
        padded = valid.size - int(valid.sum())
        self._padded += padded
        self._positions += valid.size
        for name, value in means.items() | {"padding": padded / valid.size}.items():
            self._scalar(f"train/{name}", value, step)
        progress.advance(step, means)

    @property
    def padding(self) -> float:
        """The share of padded positions in all batches since the start of this process."""
        return self._padded / max(self._positions, 1)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """Log one validation's scores to TensorBoard, validation.jsonl and the terminal."""
        if not self._writes:
            return
        for name, value in scores.items():
            self._scalar(f"validation/{name}", value, step)
        before = [line for number, line in _validations(self._file) if number < step]
        lines = [*before, json_files.dumps({"step": step, **scores})]
        write_in(self._file.parent, self._file.name, "\n".join(lines) + "\n")
        show(f"step {step:>6}  " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()))

    def flush(self) -> None:
        """Write everything so far, since a killed run repeats only the steps that follow."""
        if self._events:
            self._events.flush()
        self._curves.flush()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._events:
            self._events.scalar(name, value, step)

    def ending(self, programs: Compilations) -> None:
        """Show the run's share of padding, and how many programs it compiled."""
        if self._writes and self._positions:
            show(
                f"padding {self.padding:.1%} of positions; {programs.warming} programs compiled, "
                f"{programs.late} after warm-up"
            )


def is_validated(folder: Path, step: int) -> bool:
    """Whether the scores of a step are written. Raises: UserError if their file is damaged."""
    return step in {number for number, _ in _validations(folder / VALIDATIONS)}


def _validations(file: Path) -> list[tuple[int, str]]:
    """(step, line) of every validation in a file; none if there is no file yet."""
    try:
        lines = json_files.read_lines(file, {"step": int}) if file.exists() else []
    except UserError as error:
        raise UserError(f"{file} is damaged ({error}): delete its broken lines") from error
    return [(line["step"], json_files.dumps(line)) for line in lines]
