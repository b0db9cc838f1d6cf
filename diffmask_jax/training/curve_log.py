"""The curves of a run: the diagnostics of every layer, one line per call in `curves.jsonl`."""

from pathlib import Path
from typing import IO, Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.files import write_in, writing
from diffmask_jax.training.run_folder import CURVES
from diffmask_jax.training.settled import Curves


class CurveLog:
    """The lines so far, without those that a killed run wrote after its last checkpoint, `done`.

    layers: their number, which a log that has no lines yet cannot tell

    Raises: UserError, as its methods do, if they cannot be written.
    """

    def __init__(self, folder: Path, done: int, writes: bool, layers: int) -> None:
        self._file, self._layers = folder / CURVES, layers
        self._lines = [line for line in _read(self._file) if line["step"] <= done]
        self._opened: IO[str] | None = None
        if writes:
            write_in(folder, CURVES, "".join(map(_written, self._lines)))
            with writing(self._file):
                self._opened = self._file.open("a", encoding="utf-8")

    def add(self, step: int, means: dict[str, list[float]]) -> None:
        """Add the line of the call that ended with `step`."""
        line = {"step": step} | {
            name: [float(f"{value:.6g}") for value in means[name]] for name in Curves._fields
        }
        _check([*self._lines[-1:], line], self._file)
        self._lines.append(line)
        if self._opened:
            with writing(self._file):
                self._opened.write(_written(line))

    def curves(self) -> Curves:
        """The curves so far, arrays (calls, L)."""
        return _stacked(self._lines, self._layers)

    def flush(self) -> None:
        """Write everything so far to the file."""
        if self._opened:
            with writing(self._file):
                self._opened.flush()

    def close(self) -> None:
        """Close the file."""
        if self._opened:
            with writing(self._file):
                self._opened.close()


def read_curves(folder: Path) -> tuple[np.ndarray, Curves]:
    """The steps and curves of the run in a folder. Raises: UserError if their file is damaged."""
    lines = _read(folder / CURVES)
    return np.array([line["step"] for line in lines]), _stacked(lines, 0)


def _stacked(lines: list[dict[str, Any]], layers: int) -> Curves:
    none = np.zeros((0, layers))
    return Curves(*(np.array([line[name] for line in lines] or none) for name in Curves._fields))


def _written(line: dict[str, Any]) -> str:
    return json_files.dumps(line) + "\n"


def _read(file: Path) -> list[dict[str, Any]]:
    """All whole lines; the last one of a killed run may be cut off."""
    kinds = {"step": int} | dict.fromkeys(Curves._fields, list)
    try:
        lines = json_files.read_lines(file, kinds, cut=True) if file.exists() else []
    except UserError as error:
        raise UserError(f"{file} is damaged ({error}): delete its broken lines") from error
    _check(lines, file)
    return lines


def _check(lines: list[dict[str, Any]], file: Path) -> None:
    """Raises: UserError unless every line has one number for each of the same layers."""
    try:
        numbers = np.array([[line[name] for name in Curves._fields] for line in lines])
        whole = not lines or (numbers.ndim == 3 and numbers.dtype.kind in "if")
    except ValueError:  # of unequal lengths
        whole = False
    if not whole:
        raise UserError(f"{file} is damaged: its lines do not have one number for every layer")
