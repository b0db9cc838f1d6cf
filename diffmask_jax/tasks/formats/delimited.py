"""Tables delimited by commas (.csv) or tabs (.tsv), whose first line names the columns."""

import collections
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.formats.table import Row, Table, lines_of

Cells = tuple[int, list[str]]
"""The line on which a row begins, and its cells."""


def read_csv(path: Path) -> Table:
    """Cells separated by commas; quoted cells may contain commas, newlines and doubled quotes.

    Raises:
      UserError: the file cannot be read or is not UTF-8 text; quotes do not match; a row has more
        or fewer cells than the first line, or that line has duplicate names.
    """
    return _table(path, _reader(path, ","))


def read_tsv(path: Path) -> Table:
    """Cells separated by tabs, quoted as in a .csv, if that reads the file as a table.

    Quotes are ordinary characters if one is left open, stands inside of a cell in a way that a
    .csv forbids, or would join lines that have as many cells as the first.

    Raises:
      UserError: the file cannot be read or is not UTF-8 text; a row has more or fewer cells than
        the first line, or that line has duplicate names.
    """
    plain, quoted = _reader(path, "\t", quotes=False), _reader(path, "\t")
    sizes = collections.Counter(len(cells) for _, cells in plain())
    try:
        table = _table(path, quoted)
        rows = sum(1 for _ in table.rows([])) + bool(table.names)
    except UserError:
        return _table(path, plain)
    return _table(path, plain) if len(sizes) == 1 and sizes.total() > rows else table


def _reader(path: Path, delimiter: str, quotes: bool = True) -> Callable[[], Iterator[Cells]]:
    """() -> all rows, except empty ones, read anew each time."""
    lines = lines_of(path, newline="")

    def rows() -> Iterator[Cells]:
        reader = csv.reader(
            lines(),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            strict=True,
        )
        begin = 1
        try:
            while (cells := _next(reader)) is not None:
                if any(cell.strip() for cell in cells):
                    yield begin, cells
                begin = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{path}:{begin}: wrong quotes ({error})") from error

    return rows


def _next(reader: Any) -> list[str] | None:
    limit = csv.field_size_limit(sys.maxsize)  # a text may be long
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _table(path: Path, reader: Callable[[], Iterator[Cells]]) -> Table:
    _, names = next(reader(), (1, []))
    twice = collections.Counter(names).most_common(1)
    if twice and twice[0][1] > 1:
        raise UserError(f"{path}: the first line names the column {twice[0][0]!r} twice")
    places = {name: place for place, name in enumerate(names)}

    def rows(chosen: Sequence[str]) -> Iterator[Row]:
        found = reader()
        next(found, None)
        for line, cells in found:
            if len(cells) != len(names):
                raise UserError(
                    f"{path}:{line}: {len(cells)} cells, but {len(names)} in the first line"
                )
            yield str(line), [cells[places[name]] for name in chosen]

    return Table(names, rows)
