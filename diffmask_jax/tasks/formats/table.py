"""What every file format is read as: named columns, and the place of each row in its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.errors import UserError


class Table(NamedTuple):
    """Rows of named cells.

    Attributes:
      names: the names of the columns, in their order.
      column: the name of one -> its cells: str, or what else the format has (None where it has
        nothing).
      rows: the line on which each row begins, or its number where a format has no lines; from 1.
    """

    names: list[str]
    column: Callable[[str], list[Any]]
    rows: list[str]


def read_text(path: Path) -> str:
    """A UTF-8 file, line ends as they stand, without a byte order mark.

    Raises:
      UserError: it cannot be read, is not UTF-8, or holds a NUL, as no text does.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except ValueError as error:  # a NUL in its name
        raise UserError(f"cannot read {path}: {error}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}:{line}: not a text file, it holds a NUL")
    return text
