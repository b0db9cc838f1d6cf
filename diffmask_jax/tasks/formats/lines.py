"""Plain text: one text a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from diffmask_jax.tasks.formats.table import Row, Table, lines_of


def read_lines(path: Path) -> Table:
    """The lines that are not blank, as one column called text.

    Raises:
      UserError: the file cannot be read, or is no UTF-8 text.
    """
    lines = lines_of(path, newline=None)

    def rows(names: Sequence[str]) -> Iterator[Row]:
        for number, line in enumerate(lines(), start=1):
            if line.strip():
                yield str(number), [line.removesuffix("\n")] * len(names)

    return Table(["text"] if next(rows([]), None) else [], rows)
