"""What every file format is read as: named columns, and rows that are read as they are needed."""

import collections
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import reading

MOST = 1 << 30  # bytes of what is held in memory, because it can be read only once

Row = tuple[str, list[Any]]
"""The line on which a row begins, or its number where a format has no lines, from 1; its cells."""


class Table(NamedTuple):
    """Rows of named cells, which are not held: they are read anew each time they are asked for.

    Attributes:
      names: the names of the columns, in their order.
      rows: the names of some -> every row in its order with its cells of these: str, or what else
        the format has (None where it has nothing). Raises: UserError at what is damaged.
    """

    names: list[str]
    rows: Callable[[Sequence[str]], Iterator[Row]]


def lines_of(path: Path, newline: str | None) -> Callable[[], Iterator[str]]:
    """() -> the lines of a UTF-8 file with their ends, without a byte order mark, read anew.

    What can be read only once, a pipe, is held as it is. newline: what ends a line, as of `open`.

    Raises:
      UserError: at once, if it cannot be read, is not UTF-8, or holds a NUL, as no text does; if
        more than `MOST` bytes come through a pipe. Later, at the end of its lines, if the file is
        no more what it was at once: whoever has looked through it has seen others.
    """
    held = None if os.path.isfile(path) else _held(path)
    with reading(path):
        before = _state(path)

    def lines() -> Iterator[str]:
        with reading(path), io.BytesIO(held) if held is not None else open(path, "rb") as file:
            text = io.TextIOWrapper(file, "utf-8-sig", newline=newline)
            try:
                for number, line in enumerate(text, start=1):
                    if "\0" in line:
                        raise UserError(f"{path}:{number}: not a text file, it holds a NUL")
                    yield line
            except UnicodeDecodeError as error:
                start = _first_wrong_byte(path.read_bytes() if held is None else held)
                raise UserError(f"{path}: not UTF-8 text (byte {start})") from error
            if held is None and _state(path) != before:
                raise UserError(f"{path} was changed while it was read: begin again")

    collections.deque(lines(), maxlen=0)  # what is no text at all is not asked for its columns
    return lines


def read_text(path: Path) -> str:
    """A whole file as of `lines_of`, line ends as they stand. Raises: UserError as that does."""
    return "".join(lines_of(path, newline="")())


def _held(path: Path) -> bytes:
    """What can be read only once, as far as its first NUL, for a device may have no end."""
    content = bytearray()
    with reading(path), open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            content += chunk
            if b"\0" in chunk:
                break
            if len(content) > MOST:
                raise UserError(
                    f"{path} gives more than {MOST >> 20} MiB: write it to a file first"
                )
    return bytes(content)


def _state(path: Path) -> tuple[int, ...]:
    """Others once a file is written to, or another takes its name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _first_wrong_byte(content: bytes) -> int:
    """Counted in the whole file: who reads it block by block counts in a block."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return len(content)  # it was changed meanwhile
