"""Tables of commas (.csv) or tabs (.tsv) whose first line names the columns."""

import collections
import csv
import io
import sys
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.formats.table import Table, read_text

Row = tuple[int, list[str]]
"""The line on which a row begins, and its cells."""


def read_csv(path: Path) -> Table:
    """Cells between commas; one in quotes may hold commas, line ends and doubled quotes.

    Raises:
      UserError: the file cannot be read or is no UTF-8 text; quotes are wrong; a row has more or
        fewer cells than the first line, or a name stands twice in that.
    """
    return _table(_rows(path, read_text(path), ","), path)


def read_tsv(path: Path) -> Table:
    """Cells between tabs; quotes as in a .csv where the file needs that rule, else plain signs.

    It does if lines have more or fewer cells than the first when quotes are plain signs.

    Raises:
      UserError: the file cannot be read or is no UTF-8 text; a row has more or fewer cells than
        the first line, or a name stands twice in that.
    """
    text = read_text(path)
    plain = _rows(path, text, "\t", quotes=False)
    try:
        quoted = _rows(path, text, "\t")
        table = _table(quoted, path)
    except UserError:
        return _table(plain, path)
    is_even = len({len(cells) for _, cells in plain}) == 1
    return _table(plain, path) if is_even and len(plain) > len(quoted) else table


def _rows(path: Path, text: str, delimiter: str, quotes: bool = True) -> list[Row]:
    """All rows but those of empty cells."""
    limit = csv.field_size_limit(sys.maxsize)  # a text may be long
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    rows, begin = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((begin, cells))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{begin}: wrong quotes ({error})") from error
    finally:
        csv.field_size_limit(limit)
    return rows


def _table(rows: list[Row], path: Path) -> Table:
    if not rows:
        return Table([], lambda name: [], [])
    (_, names), *rows = rows
    twice, times = collections.Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: the first line names the column {twice!r} twice")
    for line, cells in rows:
        if len(cells) != len(names):
            raise UserError(
                f"{path}:{line}: {len(cells)} cells, but {len(names)} in the first line"
            )
    places = {name: place for place, name in enumerate(names)}
    return Table(
        names,
        lambda name: [cells[places[name]] for _, cells in rows],
        [str(line) for line, _ in rows],
    )
