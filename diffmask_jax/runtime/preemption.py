"""Being stopped from outside: what is asked of a training run while it goes on, by whom or what."""

import contextlib
import enum
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

STATUS = 128 + signal.SIGTERM  # of a process that SIGTERM killed, as shells tell it: 143
SAVE_EVERY = 300.0  # seconds: what a run without a validation for so long may lose at most


class Notice(enum.IntEnum):
    """What is asked, the more urgent the larger: several processes heed the largest of theirs."""

    NONE = 0
    SAVE = 1
    STOP = 2


class Stopped(SystemExit):
    """SIGTERM has ended the work, and the process is to end with `STATUS`.

    step: after which step the run was saved; None if it ended before there was anything to save.
    """

    def __init__(self, step: int | None = None) -> None:
        where = "" if step is None else f" after step {step}"
        super().__init__(f"stopped by SIGTERM{where}: the same command goes on")
        self.step = step
        self.code = STATUS


class Watch:
    """A context manager in which SIGTERM does nothing but raise a notice, for `notice` to give.

    Another one is raised when `SAVE_EVERY` seconds have passed since the last `saved`. When a run
    saves changes none of its numbers, so that the clock may have its say.

    alone: no other process has to stop and save at the same step
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._stop = False
        self._last = time.monotonic()

    def __enter__(self) -> "Watch":
        self._before = _handle(self._on_sigterm)
        return self

    def __exit__(self, *_: object) -> None:
        _handle(self._before)

    def _on_sigterm(self, *_: Any) -> None:
        self._stop = True

    def notice(self) -> Notice:
        """What this process is asked to do now."""
        if self._stop:
            return Notice.STOP
        return Notice.SAVE if time.monotonic() - self._last > SAVE_EVERY else Notice.NONE

    def heed(self, agreed: int) -> Notice:
        """What to do after all processes were asked as much, a call ago; alone, as asked now."""
        return max(Notice(agreed), self.notice() if self._alone else Notice.NONE)

    def saved(self) -> None:
        """The run has just been saved: the clock starts anew."""
        self._last = time.monotonic()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Where nothing would be lost, SIGTERM raises `Stopped` in the midst of whatever goes on."""

    def stop(*_: Any) -> None:
        raise Stopped()

    before = _handle(stop)
    try:
        yield
    finally:
        _handle(before)


def _handle(handler: Any) -> Any:
    """Handle SIGTERM otherwise; gives what handled it before. Threads may not, and leave it."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, handler)
