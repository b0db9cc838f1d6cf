"""One process at a time writes in a folder: a lock that the kernel gives back, however it ends."""

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
from diffmask_jax.runtime.files import has_name

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


class _Lock:
    """A file in the folder that this process has locked, and that says who that is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._opened: int | None = None

    def tried(self) -> str | None:
        """Lock it if nobody else has; else who has."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._opened = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            return _holder(self._file)
        except ValueError as error:  # a NUL in its name
            raise UserError(f"cannot make the folder {self._file.parent}: {error}") from error
        except OSError as error:
            others = error.errno in UNWRITABLE and self._file.exists()
            if others and os.access(self._file.parent, os.W_OK):
                return _holder(self._file)  # another user's
            if error.errno not in (*WITHOUT, *UNWRITABLE) or not self._file.parent.is_dir():
                self._close()
                raise UserError(
                    f"cannot make or lock the folder {self._file.parent}: {error.strerror}"
                ) from error
            if error.errno in WITHOUT:
                messages.say(
                    f"the file system of {self._file.parent} has no locks ({error.strerror}): "
                    "see to it that no other process writes there"
                )
            return None
        if not has_name(self._opened, self._file):  # who held it has removed it meanwhile
            self._close()
            return self.tried()
        self._sign()
        return None

    def release(self) -> None:
        """Let others have it; nothing of it stays."""
        if self._opened is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()  # before another may have locked it
            self._close()

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

    def _close(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None


def _holder(file: Path) -> str:
    """Who holds a lock, in words; it may be writing them just now."""
    try:
        told = json_files.read(file)
        return f"process {told['pid']} on {told['host']} since {told['since']} ({told['command']})"
    except (UserError, LookupError):
        return "another process"
