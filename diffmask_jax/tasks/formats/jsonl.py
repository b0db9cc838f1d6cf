"""JSON Lines: one object per line, or one string per line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.tasks.formats.table import Row, Table, lines_of


def read_jsonl(path: Path) -> Table:
    """The objects' keys as columns; strings as one column called text. Blank lines are skipped.

    Raises:
      UserError: the file cannot be read or is not UTF-8 text; a line is neither object nor string.
    """
    lines = lines_of(path, newline="\n")

    def objects() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(lines(), start=1):
            if line.strip():
                yield number, _parse(line, f"{path}:{number}")

    def rows(names: Sequence[str]) -> Iterator[Row]:
        for number, found in objects():
            yield str(number), [found.get(name) for name in names]

    return Table(list(dict.fromkeys(name for _, found in objects() for name in found)), rows)


def _parse(line: str, where: str) -> dict[str, Any]:
    value = json_files.parse(line, where, object)
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise UserError(f"{where}: a line must be a JSON object or string, not {line.strip()[:24]}")
    return value
