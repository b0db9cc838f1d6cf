"""Signals that ask a process to end, heard even where Python is not running."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any

SIGNALS = {signal.SIGHUP: "SIGHUP", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
PATIENCE = 2.0  # seconds in which the main thread should come back to Python
SOON = 0.05  # seconds in which it should leave a callback that cannot raise

Handler = Callable[[signal.Signals], None]


@contextlib.contextmanager
def handled(handle: Handler, unheard: Handler | None) -> Iterator[None]:
    """Let a function handle SIGHUP, Ctrl-C and SIGTERM, those that are not ignored (nohup).

    Each is handled once, in the order in which they came. What `handle` raises comes up wherever
    the main thread is, and once only: who cleans up after it is not interrupted again.

    unheard: called in another thread instead, where the main thread could not handle a signal for
    `PATIENCE` seconds, for it does so between two instructions of Python, and XLA may compile for
    minutes in one; or where it still cleans up. And called instead in the midst of an import, for
    what C++ imports may end the process if anything is raised (SIGSEGV). None: there is no instead.

    Threads may handle none, and leave them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: its for number, its in handlers.items() if its != signal.SIG_IGN}
    pending = _Pending(before)
    hearing = _Hearing(pending, handle, unheard, sys.unraisablehook)
    lost = hearing.lost
    thread = threading.Thread(target=pending.watch, args=(unheard,), name="signals", daemon=True)
    others = signal.set_wakeup_fd(pending.writing, warn_on_full_buffer=False)
    unraisable, sys.unraisablehook = sys.unraisablehook, lost
    try:
        for number in before:
            signal.signal(number, hearing.hear)
        if unheard:
            thread.start()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: it was not Python's
        signal.set_wakeup_fd(others)
        if sys.unraisablehook is lost:
            sys.unraisablehook = unraisable
        pending.end()
        if thread.is_alive():
            thread.join()
        late = [] if hearing.raised else pending.taken()
        pending.close()
        for number in late:  # for whoever handles them now
            signal.raise_signal(number)


class _Pending:
    """The signals that came and that nobody has handled yet, in a pipe that Python fills."""

    def __init__(self, heard: Collection[int]) -> None:
        self._heard = heard
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self.writing, False)
        self._ended = threading.Event()

    def taken(self) -> list[signal.Signals]:
        """All of them, for whoever takes them to handle."""
        with contextlib.suppress(BlockingIOError):
            return [signal.Signals(n) for n in os.read(self._reading, 512) if n in self._heard]
        return []

    def watch(self, unheard: Handler) -> None:
        """In another thread, until the end: handle what nobody takes for `PATIENCE` seconds."""
        while not self._ended.is_set():
            select.select([self._reading], [], [])
            if not self._ended.wait(PATIENCE):
                for number in self.taken():
                    unheard(number)

    def end(self) -> None:
        """Let the watch end."""
        self._ended.set()
        os.write(self.writing, b"\0")

    def close(self) -> None:
        """When nobody fills it any more."""
        os.close(self._reading)
        os.close(self.writing)


class _Hearing:
    """How the main thread handles pending signals. raised: by which, and what, once something was.

    unraisable: the hook that this one's `lost` stands in for
    """

    def __init__(
        self,
        pending: _Pending,
        handle: Handler,
        unheard: Handler | None,
        unraisable: Callable[[Any], object],
    ) -> None:
        self._pending, self._handle, self._unheard = pending, handle, unheard
        self._unraisable = unraisable
        self.raised: tuple[int, BaseException] | None = None

    def hear(self, _: int, frame: FrameType | None) -> None:
        """As Python calls it, between two instructions."""
        now = self._unheard if self._unheard and _is_importing(frame) else self._handle
        for number in [] if self.raised else self._pending.taken():
            try:
                now(number)
            except BaseException as error:
                self.raised = number, error
                raise

    def lost(self, told: Any) -> None:
        """What was raised in a callback of the garbage collector, which cannot raise: again."""
        if self.raised and told.exc_value is self.raised[1]:
            number, self.raised = self.raised[0], None
            threading.Timer(SOON, signal.raise_signal, [number]).start()
        else:
            self._unraisable(told)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that it was called from, belongs to an import."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
