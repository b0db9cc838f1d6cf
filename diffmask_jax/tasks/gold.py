"""Gold labels for a model's outputs, from what people write: names, numbers, lists."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models import problem_types
from diffmask_jax.runtime.messages import excerpt, shows
from diffmask_jax.runtime.settings import LARGEST

_SEPARATORS = re.compile(r"[,|;]")


def gold_of(
    cells: Iterable[Any],
    labels: Sequence[str],
    problem_type: str,
    rows: Sequence[str] | None = None,
) -> np.ndarray:
    """The gold labels of N texts for a model with C outputs.

    single_label_classification: (N,) class numbers. The cells are names, in any case, or numbers;
      if every cell is a name, they are names, even names such as "1" to "5".
    multi_label_classification: (N, C) zeros and ones. A cell is a list, or a str separated by , or
      | or ; of names or numbers or, if all cells have C of them, of zeros and ones. An empty list
      means no label.
    regression: (N, C) real numbers; a cell is a number, or a list of one per output.
    question_answering: (N, A, 2) the first and the last word piece of each gold span, filled up
      with -1; a cell is a tuple of at most A spans, which may be empty.

    Args:
      cells: the values of `Examples.gold`.
      labels: the names of the model's outputs.
      problem_type: the kind of model, as transformers calls it.
      rows: how messages refer to each text; by default its number, from 1.

    Raises:
      UserError: a label is empty, or is not one of the model's.
    """
    cells, rows = _labelled(cells, problem_type, rows)
    return _KINDS[problem_type](cells, labels, rows)


def class_names(
    cells: Iterable[Any], problem_type: str, rows: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The names that occur as labels, sorted, as the outputs of a new model.

    Whole numbers are sorted by size, names alphabetically. Sets of labels that are written as
    zeros and ones, equally many in every row, name none: they are LABEL_0, LABEL_1, … . A
    regression has one output without a name. rows: as in `gold_of`.

    Raises:
      UserError: there is no label, or only one class; a label is empty; or a number is written in
        two ways, 1 and 1.0, which would become two classes.
    """
    if problem_type == problem_types.REGRESSION:
        return ("LABEL_0",)
    cells, rows = _labelled(cells, problem_type, rows)
    is_set = problem_type == problem_types.MULTI_LABEL
    written = [_items(cell, ()) if is_set else [cell] for cell in cells]
    for row, inner in zip(rows, written, strict=True):
        if odd := [item for item in inner if isinstance(item, dict | list | np.ndarray)]:
            raise UserError(
                f"row {row}: the label {_quoted(odd[0])} is neither a name nor a number"
            )
    if is_set and (length := _length_of_bits(written)) > 1:
        return tuple(f"LABEL_{number}" for number in range(length))
    items = [item for inner in written for item in inner]
    names = sorted({str(item).strip() for item in items})
    if not names:
        raise UserError("no text of the data has a label")
    if len(names) < (1 if is_set else 2):
        raise UserError(f"the data has only one class, {names[0]!r}: nothing to tell apart")
    numbers = {name: _number(name) for name in names}
    if all(number is not None for number in numbers.values()):
        names.sort(key=lambda name: numbers[name] or 0.0)
        for first, second in itertools.pairwise(names):
            if numbers[first] == numbers[second]:
                raise UserError(
                    f"the labels {first!r} and {second!r} are the same number: write it in one way"
                )
    return tuple(names)


def classes_told(names: Sequence[str]) -> str:
    """A line on the classes that labels were read as, for people who may have meant numbers."""
    numbers = [number for name in names if (number := _number(name)) is not None]
    is_real = not all(map(float.is_integer, numbers))
    told = f"{len(names)} classes: {', '.join(names[:8])}" + ", …" * (len(names) > 8)
    return told + "; for real numbers pass --problem-type regression" * is_real


def _labelled(
    cells: Iterable[Any], problem_type: str, rows: Sequence[str] | None
) -> tuple[list[Any], Sequence[str]]:
    """The cells, and the names of their rows. Raises: UserError if a cell or a part is empty."""
    cells = list(cells)
    rows = rows or [str(number) for number in range(1, len(cells) + 1)]
    for row, cell in zip(rows, cells, strict=True):
        if is_empty(cell):
            missing = "answer" if problem_type == problem_types.QUESTION_ANSWERING else "label"
            raise UserError(f"row {row} has no {missing}")
        if isinstance(cell, list | np.ndarray) and any(map(is_empty, cell)):
            raise UserError(f"row {row}: one of its labels is empty")
    return cells, rows


def is_empty(cell: Any) -> bool:
    """Whether a cell is missing: None, blank, or NaN, with which tables fill gaps."""
    if isinstance(cell, str):
        return not shows(cell)
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _classes(cells: list[Any], labels: Sequence[str], rows: Sequence[str]) -> np.ndarray:
    numbers = [number for (number,) in _numbers_of([[cell] for cell in cells], labels, rows)]
    for row, number in zip(rows, numbers, strict=True):
        if abs(number) >= 2**31:
            raise UserError(f"row {row}: the model has no label {number:.6g}")
    return np.array(numbers, np.int32)


def _sets(cells: list[Any], labels: Sequence[str], rows: Sequence[str]) -> np.ndarray:
    written = [_items(cell, labels) for cell in cells]
    if all(_is_row_of_bits(items, len(labels)) for items in written):
        return np.array([[_number(item) for item in items] for items in written]).astype(np.int32)
    sets = np.zeros((len(cells), len(labels)), np.int32)
    for place, numbers in enumerate(_numbers_of(written, labels, rows)):
        for number in numbers:
            if not 0 <= number < len(labels):
                raise UserError(f"row {rows[place]}: the model has no label {number}")
            sets[place, number] = 1
    return sets


def _reals(cells: list[Any], labels: Sequence[str], rows: Sequence[str]) -> np.ndarray:
    values = np.zeros((len(cells), len(labels)), np.float32)
    for place, cell in enumerate(cells):
        numbers = [_number(item) for item in _items(cell, labels)]
        finite = [number for number in numbers if number is not None and abs(number) <= LARGEST]
        if len(finite) != len(labels) or len(numbers) != len(labels):
            wanted = "a number" if len(labels) == 1 else f"{len(labels)} numbers"
            raise UserError(f"row {rows[place]}: the label {_quoted(cell)} is not {wanted}")
        values[place] = finite
    return values


def _spans(cells: list[Any], labels: Sequence[str], rows: Sequence[str]) -> np.ndarray:
    gold = np.full((len(cells), max(1, *map(len, cells)), 2), -1, np.int32)
    for place, spans in enumerate(cells):
        gold[place, : len(spans)] = np.reshape(spans, (-1, 2))
    return gold


_KINDS: dict[str, Callable[[list[Any], Sequence[str], Sequence[str]], np.ndarray]] = {
    problem_types.SINGLE_LABEL: _classes,
    problem_types.MULTI_LABEL: _sets,
    problem_types.REGRESSION: _reals,
    problem_types.QUESTION_ANSWERING: _spans,
}


def _items(cell: Any, labels: Sequence[str]) -> list[Any]:
    """The labels in one cell."""
    if isinstance(cell, list | tuple | np.ndarray):
        return list(cell)
    if not isinstance(cell, str) or cell.strip() in labels:
        return [cell]
    inner = cell.strip().removeprefix("[").removesuffix("]")
    return [item.strip(" '\"") for item in _SEPARATORS.split(inner) if item.strip()]


def _numbers_of(
    written: list[list[Any]], labels: Sequence[str], rows: Sequence[str]
) -> list[list[int]]:
    """The number of each label. Labels are read as names if all are names, else as numbers."""
    for spelled in (str, str.lower, _whole):
        names = {spelled(name.strip()): number for number, name in enumerate(labels)}
        named = [[names.get(spelled(str(item).strip())) for item in items] for items in written]
        if len(names) == len(labels) and all(n is not None for numbers in named for n in numbers):
            return [[int(n) for n in numbers if n is not None] for numbers in named]
    values = [[_number(item) for item in items] for items in written]
    are_numbers = [all(n is not None and n.is_integer() for n in numbers) for numbers in values]
    if not all(are_numbers):
        raise UserError(_complaint(written, are_numbers, labels, rows))
    return [[int(n) for n in numbers if n is not None] for numbers in values]


def _whole(text: str) -> str:
    """4.0 -> 4: how tables write whole numbers if some are missing."""
    number = _number(text)
    return str(int(number)) if number is not None and number.is_integer() else text


def _complaint(
    written: list[list[Any]], are_numbers: list[bool], labels: Sequence[str], rows: Sequence[str]
) -> str:
    """The message that a label is neither a name nor a number, or that both are mixed."""
    names = {name.strip().lower() for name in labels}
    for row, items, is_number in zip(rows, written, are_numbers, strict=True):
        for item in items:
            if not is_number and str(item).strip().lower() not in names:
                known = ", ".join(labels[:8]) + ", …" * (len(labels) > 8)
                return f"row {row}: the label {_quoted(item)} is not one of {known}"
    named = rows[are_numbers.index(False)]
    return f"row {named}: the label is a name, but others are numbers: use one of the two"


def _is_row_of_bits(items: list[Any], length: int) -> bool:
    return len(items) == length and all(_number(item) in (0, 1) for item in items)


def _length_of_bits(written: list[list[Any]]) -> int:
    """The length of all rows, if it is one and all are zeros and ones; otherwise 0."""
    lengths = {len(items) for items in written}
    length = lengths.pop() if len(lengths) == 1 else 0
    return length if all(_is_row_of_bits(items, length) for items in written) else 0


def _number(item: Any) -> float | None:
    try:
        return float(item)
    except (TypeError, ValueError, OverflowError):
        return None


def _quoted(item: Any) -> str:
    return repr(excerpt(str(item)))
