"""A file of lines that takes long to write: it has a temporary name until it is whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import is_special, reason
from diffmask_jax.runtime.locks import open_alone
from diffmask_jax.runtime.messages import say


class GrowingFile:
    """Writes a file of lines that no reader can mistake for whole before it is.

    Lines go to a sibling, NAME.IDENTITY.partial, which is renamed at the end. A killed process
    leaves the sibling behind, and a process that writes the same lines continues after the `done`
    lines that are safely in it. Anything but a regular file (/dev/stdout, a pipe) is written to
    directly.

    with GrowingFile(path, identity, 1000) as file:
        for line in lines[file.done:]:
            file.add(line)

    identity: identifies what the lines are made from, so that other lines have another sibling
    together: lines are flushed to disk, and continued, in multiples of this number
    anew: begin at the first line, whatever is there

    Raises: UserError if it cannot be written, or another process is writing it.
    """

    def __init__(
        self, path: str | os.PathLike[str], identity: str, together: int, anew: bool = False
    ) -> None:
        self._path, self._together = Path(path), together
        real = Path(os.path.realpath(path))
        self._partial = real.with_name(f"{real.name}.{identity}.partial")
        self._whole = None if is_special(path) else real
        with self._told():
            self._file = self._opened()
            self.done = 0 if anew or self._whole is None else self._safe_lines()
            if self._whole is not None:
                self._file.truncate()
        self._count = self._safe = self.done

    def add(self, line: str) -> None:
        """Append a line, given without its newline. Raises: UserError if it cannot be written."""
        with self._told():
            self._file.write(line.encode() + b"\n")
            self._count += 1
            if self._count % self._together == 0:
                self._make_safe()

    def __enter__(self) -> "GrowingFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
            elif self._whole is not None:
                self._leave()
        finally:
            with contextlib.suppress(OSError):  # of an error in writing, which is reported already
                self._file.close()

    def _finish(self) -> None:
        with self._told():
            self._make_safe()
            if self._whole is not None:
                os.replace(self._partial, self._whole)

    def _leave(self) -> None:
        if self._safe:
            say(
                f"{self._partial} has {self._safe} lines: run the same command to continue after "
                "them"
            )
        else:
            self._partial.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._whole is None:
            return open(self._path, "wb")
        try:
            return open(open_alone(self._partial)[0], "r+b")
        except BlockingIOError as error:
            raise UserError(f"another process is writing {self._path}: wait for it") from error

    def _safe_lines(self) -> int:
        """The number of whole lines, by the multiple; the file is positioned after them."""
        done = place = end = 0
        for number, line in enumerate(self._file, start=1):
            if b"\0" in line:  # a block that a power cut has left empty
                break
            place += len(line)
            if number % self._together == 0 and line.endswith(b"\n"):
                done, end = number, place
        self._file.seek(end)
        return done

    def _make_safe(self) -> None:
        self._file.flush()
        if self._whole is not None:
            os.fsync(self._file.fileno())
        self._safe = self._count

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # its reader is gone
            raise
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write {self._path}: {reason(self._path, error)}") from error
