"""The common form of all file formats: named columns, and rows that are read when needed."""

import collections
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import reading

MOST = 1 << 30  # bytes of a pipe, which is kept in memory because it can be read only once

Row = tuple[str, list[Any]]
"""The line on which a row begins, or its number in a format without lines, from 1; its cells."""


class Table(NamedTuple):
    """Rows of named cells, which are not kept in memory, but read anew each time.

    Attributes:
      names: the names of the columns, in order.
      rows: (names of some columns) -> all rows in order, each with its cells of these: str, or
        other types of the format; None if empty. Raises: UserError at damaged rows.
    """

    names: list[str]
    rows: Callable[[Sequence[str]], Iterator[Row]]


def lines_of(path: Path, newline: str | None) -> Callable[[], Iterator[str]]:
    """() -> the lines of a UTF-8 file with their ends, without a byte order mark, read anew.

    The content of a pipe is kept in memory, since it can be read only once. newline: as in `open`.

    Raises:
      UserError: at once, if the file cannot be read, is not UTF-8, or contains a NUL, which no text
        does; if more than `MOST` bytes come through a pipe. Later, at the end of the lines, if the
        file has changed since: what was checked before is not what was read.
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
                        raise UserError(f"{path}:{number}: not a text file, it contains a NUL")
                    yield line
            except UnicodeDecodeError as error:
                start = _first_wrong_byte(path.read_bytes() if held is None else held)
                raise UserError(f"{path}: not UTF-8 text (byte {start})") from error
            if held is None and _state(path) != before:
                raise UserError(f"{path} was changed while it was being read: try again")

    collections.deque(lines(), maxlen=0)  # so that errors of encoding come before those of columns
    return lines


def read_text(path: Path) -> str:
    """A whole file, with its line ends as they are. Raises: UserError as `lines_of` does."""
    return "".join(lines_of(path, newline="")())


def _held(path: Path) -> bytes:
    """The content of a pipe or device up to its first NUL, since a device may never end."""
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
    """Numbers that change when a file is written to, or replaced by another of its name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _first_wrong_byte(content: bytes) -> int:
    """The place of the first byte that is not UTF-8, counted in the whole file, not in a block."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return len(content)  # the file was changed meanwhile
