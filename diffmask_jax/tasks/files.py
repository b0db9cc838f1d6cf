"""Texts, pairs and labels from people's files: one reader per format, by the file's ending."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.columns import USUAL, Chosen, Columns, choose
from diffmask_jax.tasks.formats.arrow import read_datasets_folder, read_parquet
from diffmask_jax.tasks.formats.delimited import read_csv, read_tsv
from diffmask_jax.tasks.formats.jsonl import read_jsonl
from diffmask_jax.tasks.formats.lines import read_lines
from diffmask_jax.tasks.formats.table import Row, Table
from diffmask_jax.tasks.gold import is_empty
from diffmask_jax.tasks.task import Examples, Source

READERS = {
    "": read_lines,  # such as /dev/stdin
    ".txt": read_lines,
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def read_file(path: str | Path, columns: Columns = USUAL) -> Examples:
    """The examples in a file, or in a folder saved by Hugging Face's `datasets`.

    Rows are named by an id column if all its values are distinct, otherwise by their lines. The
    gold labels are the file's cells, from which `gold_of` makes numbers; None if all are empty.

    Raises:
      UserError: the file cannot be read, has an unknown format or no text; a column is missing; a
        cell that should contain a text is empty.
    """
    return open_file(path, columns).whole()


def open_file(path: str | Path, columns: Columns = USUAL) -> Source:
    """The examples in a file, to be read in portions; the whole file is checked at once.

    Raises: UserError as `read_file` does; later only if the file is changed meanwhile.
    """
    path = Path(os.path.expanduser(path))
    table = _read_table(path)
    if not table.names:
        raise UserError(f"{path} contains no text")
    chosen = choose(table.names, columns, str(path))
    seen = _look_through(path, table, chosen)
    if not seen.rows:
        raise UserError(f"{path} contains no text, only the names of columns")

    def portions(most: int) -> Iterator[Examples]:
        rows = table.rows(_names(chosen))
        while portion := list(itertools.islice(rows, most)):
            _check_texts(path, chosen, portion)
            yield _examples(chosen, seen, portion)

    return Source(seen.rows, portions)


class _Seen(NamedTuple):
    """Facts about all rows of a table: their number, and which columns are incomplete."""

    rows: int
    has_gold: bool
    has_ids: bool


def _look_through(path: Path, table: Table, chosen: Chosen) -> _Seen:
    """Check a table. Raises: UserError if a cell that should contain a text is empty."""
    names = _names(chosen)
    count, has_gold, ids = 0, False, set()
    for row in table.rows(names):
        _check_texts(path, chosen, [row])
        cells = dict(zip(names, row[1], strict=True))
        count += 1
        has_gold |= chosen.label is not None and not is_empty(cells[chosen.label])
        if chosen.id is not None and not is_empty(cells[chosen.id]):
            ids.add(str(cells[chosen.id]))
    return _Seen(count, has_gold, count > 0 and len(ids) == count)


def _names(chosen: Chosen) -> list[str]:
    """The names of all columns that are read, each once."""
    return list(dict.fromkeys(name for name in chosen if name is not None))


def _examples(chosen: Chosen, seen: _Seen, rows: Sequence[Row]) -> Examples:
    cells = zip(*(cells for _, cells in rows), strict=True)
    columns = {name: list(column) for name, column in zip(_names(chosen), cells, strict=True)}
    ids = columns[chosen.id] if chosen.id is not None and seen.has_ids else None
    return Examples(
        first=columns[chosen.text],
        second=None if chosen.pair is None else columns[chosen.pair],
        gold=as_cells(columns[str(chosen.label)]) if seen.has_gold else None,
        rows=[name for name, _ in rows] if ids is None else [str(name) for name in ids],
    )


def _read_table(path: Path) -> Table:
    if os.path.isdir(path):
        return read_datasets_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        endings = ", ".join(filter(None, READERS))
        raise UserError(f"{path}: files ending in {path.suffix} are not supported, only {endings}")
    return reader(path)


def _check_texts(path: Path, chosen: Chosen, rows: Sequence[Row]) -> None:
    names = _names(chosen)
    for name in filter(None, (chosen.text, chosen.pair)):
        place = names.index(name)
        for row, cells in rows:
            cell = cells[place]
            if not isinstance(cell, str) or not cell.strip():
                reason = "is empty" if is_empty(cell) else f"is not text but {type(cell).__name__}"
                raise UserError(f"{path}, row {row}: the column {name!r} {reason}")


def as_cells(cells: Sequence[Any]) -> np.ndarray:
    """An array (N,) of arbitrary values, even lists, as they are."""
    array = np.empty(len(cells), object)
    for place, cell in enumerate(cells):
        array[place] = cell
    return array
