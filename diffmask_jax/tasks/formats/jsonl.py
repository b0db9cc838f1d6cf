"""JSON Lines: an object a line, or a string a line."""

from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.tasks.formats.table import Table, read_text


def read_jsonl(path: Path) -> Table:
    """The objects' keys as columns; strings as one column called text. Blank lines are left out.

    Raises:
      UserError: the file cannot be read or is no UTF-8 text; a line is neither object nor string.
    """
    objects, rows = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            objects.append(_parse(line, f"{path}:{number}"))
            rows.append(str(number))
    names = list(dict.fromkeys(name for row in objects for name in row))
    return Table(names, lambda name: [row.get(name) for row in objects], rows)


def _parse(line: str, where: str) -> dict[str, Any]:
    value = json_files.parse(line, where, object)
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise UserError(f"{where}: a line must be a JSON object or string, not {line.strip()[:24]}")
    return value
