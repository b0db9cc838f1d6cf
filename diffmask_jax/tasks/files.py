"""Texts, pairs and labels from the files people have: one reader a format, by the file's ending."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.columns import USUAL, Columns, choose
from diffmask_jax.tasks.formats.arrow import read_datasets_folder, read_parquet
from diffmask_jax.tasks.formats.delimited import read_csv, read_tsv
from diffmask_jax.tasks.formats.jsonl import read_jsonl
from diffmask_jax.tasks.formats.lines import read_lines
from diffmask_jax.tasks.formats.table import Table
from diffmask_jax.tasks.gold import is_empty
from diffmask_jax.tasks.task import Examples

READERS = {
    "": read_lines,  # as of /dev/stdin
    ".txt": read_lines,
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def read_file(path: str | Path, columns: Columns = USUAL) -> Examples:
    """The examples in a file, or in a folder that Hugging Face's `datasets` saved.

    Rows are called by an id column if every row has an id of its own, else by their lines. The
    gold labels are the file's cells: `gold_of` makes numbers of them; None if all are empty.

    Raises:
      UserError: the file cannot be read, is of no known format or holds no text; a column is
        missing; a cell that should hold a text is empty.
    """
    path = Path(os.path.expanduser(path))
    table = _read_table(path)
    if not table.names:
        raise UserError(f"{path} holds no text")
    chosen = choose(table.names, columns, str(path))
    if not table.rows:
        raise UserError(f"{path} holds no text, only the names of columns")
    second = None if chosen.pair is None else _texts(table, chosen.pair, path)
    return Examples(
        first=_texts(table, chosen.text, path),
        second=second,
        gold=None if chosen.label is None else _gold(table.column(chosen.label)),
        rows=table.rows if chosen.id is None else _ids(table, chosen.id),
    )


def _read_table(path: Path) -> Table:
    if os.path.isdir(path):
        return read_datasets_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        endings = ", ".join(filter(None, READERS))
        raise UserError(f"{path}: files ending in {path.suffix} are not read, only {endings}")
    return reader(path)


def _texts(table: Table, name: str, path: Path) -> list[str]:
    cells = table.column(name)
    for row, cell in zip(table.rows, cells, strict=True):
        if not isinstance(cell, str) or not cell.strip():
            reason = "is empty" if is_empty(cell) else f"is no text but {type(cell).__name__}"
            raise UserError(f"{path}, row {row}: the column {name!r} {reason}")
    return cells


def _gold(cells: Sequence[Any]) -> np.ndarray | None:
    return None if all(map(is_empty, cells)) else as_cells(cells)


def as_cells(cells: Sequence[Any]) -> np.ndarray:
    """An array (N,) of any values, lists among them, as they are."""
    array = np.empty(len(cells), object)
    for place, cell in enumerate(cells):
        array[place] = cell
    return array


def _ids(table: Table, name: str) -> list[str]:
    ids = table.column(name)
    names = [str(value) for value in ids]
    return table.rows if any(map(is_empty, ids)) or len(set(names)) < len(names) else names
