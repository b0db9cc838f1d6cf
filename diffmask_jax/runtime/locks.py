"""Locks by which only one process at a time writes in a folder or to a file; the kernel releases
them however a process ends."""

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
WAIT = 180  # seconds: more than clusters allow between SIGTERM and SIGKILL
WITHOUT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # errors of file systems without locks
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if it does not exist, against other writing processes.

    If another process holds it, this one says so and waits: that may be the predecessor of a
    requeued job, which saves and ends. The first of several cooperating processes holds the folder
    for all. Nothing is held if the folder is not writable or, with a warning, if the file system
    has no locks.

    Raises: UserError if the other process still runs after `WAIT` seconds, or if the folder cannot
        be made.
    """
    lock = _Lock(folder)
    try:
        for second in range(WAIT):
            if (other := distributed.by_first(lock.tried)) is None:
                break
            if second == 0:
                distributed.say(f"{folder} is in use by {other}: waiting up to {WAIT} s for it")
            time.sleep(1)  # in every process, since none may wait long for another's answer
        else:
            raise UserError(f"{folder} is in use by {other}: wait for it, or choose another --out")
        yield
    finally:
        lock.release()


def open_alone(file: Path) -> tuple[int, str | None]:
    """Open a file for writing, exclusively; it is made if it does not exist.

    Returns its descriptor, and the reason if the file system has no locks.

    Raises: BlockingIOError if another process has it; OSError if it cannot be opened, or is a link.
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
    os.close(opened)  # its holder has removed or renamed it since it was opened
    return open_alone(file)


class _Lock:
    """The lock file in a folder, which also names its holder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._opened: int | None = None

    def tried(self) -> str | None:
        """Try to lock it; returns the holder if there is another one."""
        folder = self._file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._opened, without = open_alone(self._file)
        except BlockingIOError:
            return _holder(self._file)
        except ValueError as error:  # a NUL in the name
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
                f"the file system of {folder} does not support locks ({without}): make sure that "
                "no other process writes there"
            )
        else:
            self._sign()
        return None

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._opened is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()  # while no other process can have locked it
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
        with contextlib.suppress(OSError):  # the lock holds all the same
            os.ftruncate(self._opened, 0)
            os.pwrite(self._opened, json_files.dumps(told).encode(), 0)


def _holder(file: Path) -> str:
    """The holder of a lock, in words, which it may be writing at this moment."""
    try:
        told = json_files.read(file)
        return f"process {told['pid']} on {told['host']} since {told['since']} ({told['command']})"
    except (UserError, LookupError):
        return "another process"


def _has_name(opened: int, path: Path) -> bool:
    """Whether a path still names an open file; NFS may have forgotten the file."""
    try:
        return os.path.samestat(os.fstat(opened), os.stat(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
