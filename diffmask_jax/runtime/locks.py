"""One process at a time writes in a folder, or a file: a lock that the kernel gives back, however
it ends."""

import contextlib
import errno
import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import distributed, json_files, messages

FILE = ".lock"
WAIT = 180  # seconds: more than a cluster gives a process between SIGTERM and SIGKILL
WITHOUT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # of a file system that has no locks
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there, against other processes that want to write in it.

    Who finds it held waits, and says for whom: it may be the predecessor of a requeued job, which
    saves and ends. Of processes that work together the first one holds it for all. Where nobody
    may write, or the file system has no locks, which is said, nothing is held.

    Raises: UserError if the other one still goes on after `WAIT` seconds, or the folder cannot be
        made.
    """
    lock = _Lock(folder)
    try:
        for second in range(WAIT):
            if (other := distributed.by_first(lock.tried)) is None:
                break
            if second == 0:
                distributed.say(f"{folder} is in use by {other}: waiting up to {WAIT} s for it")
            time.sleep(1)  # every process a second, for none waits long for another's answer
        else:
            raise UserError(f"{folder} is in use by {other}: wait for it, or choose another --out")
        yield
    finally:
        lock.release()


def open_alone(file: Path) -> tuple[int, str | None]:
    """Open a file to be written, made if it is not there, that no other process may open so now.

    Gives its descriptor, and why nothing is locked where the file system has no locks.

    Raises: BlockingIOError if another process has it; OSError if it cannot be opened, as a link.
    """
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _has_name(opened, file):
            return opened, None
    except OSError as error:
        if error.errno in WITHOUT:
            return opened, error.strerror
        os.close(opened)
        raise
    os.close(opened)  # who had it has removed or renamed it since it was opened
    return open_alone(file)


class _Lock:
    """A file in the folder that this process has locked, and that says who that is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._opened: int | None = None

    def tried(self) -> str | None:
        """Lock it if nobody else has; else who has."""
        folder = self._file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._opened, without = open_alone(self._file)
        except BlockingIOError:
            return _holder(self._file)
        except ValueError as error:  # a NUL in its name
            raise UserError(f"cannot make the folder {folder}: {error}") from error
        except OSError as error:
            if error.errno not in UNWRITABLE or not folder.is_dir():
                raise UserError(
                    f"cannot make or lock the folder {folder}: {error.strerror}"
                ) from error
            of_another_user = self._file.exists() and os.access(folder, os.W_OK)
            return _holder(self._file) if of_another_user else None
        if without:
            messages.say(
                f"the file system of {folder} has no locks ({without}): see to it that no other "
                "process writes there"
            )
        else:
            self._sign()
        return None

    def release(self) -> None:
        """Let others have it; nothing of it stays."""
        if self._opened is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()  # before another may have locked it
            os.close(self._opened)
            self._opened = None

    def _sign(self) -> None:
        assert self._opened is not None
        told = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": shlex.join(sys.argv),
            "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        }
        with contextlib.suppress(OSError):  # it is held all the same
            os.ftruncate(self._opened, 0)
            os.pwrite(self._opened, json_files.dumps(told).encode(), 0)


def _holder(file: Path) -> str:
    """Who holds a lock, in words; it may be writing them just now."""
    try:
        told = json_files.read(file)
        return f"process {told['pid']} on {told['host']} since {told['since']} ({told['command']})"
    except (UserError, LookupError):
        return "another process"


def _has_name(opened: int, path: Path) -> bool:
    """Whether an open file is still the one of a name; a client of NFS may know it no more."""
    try:
        return os.path.samestat(os.fstat(opened), os.stat(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
