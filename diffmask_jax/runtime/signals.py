"""Handling signals that ask a process to end, even while no Python code runs."""

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
PATIENCE = 2.0  # seconds within which the main thread should return to Python code
SOON = 0.05  # seconds within which it should leave a callback that cannot raise

Handler = Callable[[signal.Signals], None]


@contextlib.contextmanager
def handled(handle: Handler, unheard: Handler | None) -> Iterator[None]:
    """Let a function handle SIGHUP, Ctrl-C and SIGTERM, unless they are ignored (nohup).

    Each signal is handled once, in order of arrival. An exception of `handle` is raised wherever
    the main thread is, and only once, so that its cleaning up is not interrupted.

    unheard: called instead, in another thread, if the main thread does not handle a signal within
    `PATIENCE` seconds, because it is cleaning up or does not return to Python code: XLA may compile
    for minutes. Also called instead during an import, since an exception inside an import by C++
    may crash the process (SIGSEGV). None: no substitute.

    In other threads than the main one this does nothing.
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
            signal.signal(number, handler or signal.SIG_DFL)  # None: it was not set from Python
        signal.set_wakeup_fd(others)
        if sys.unraisablehook is lost:
            sys.unraisablehook = unraisable
        pending.end()
        if thread.is_alive():
            thread.join()
        late = [] if hearing.raised else pending.taken()
        pending.close()
        for number in late:  # for the handlers that are now in place
            signal.raise_signal(number)


class _Pending:
    """The signals that have arrived but are not handled yet, in a pipe that Python fills."""

    def __init__(self, heard: Collection[int]) -> None:
        self._heard = heard
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self.writing, False)
        self._ended = threading.Event()

    def taken(self) -> list[signal.Signals]:
        """Take all of them; the caller must handle them."""
        with contextlib.suppress(BlockingIOError):
            return [signal.Signals(n) for n in os.read(self._reading, 512) if n in self._heard]
        return []

    def watch(self, unheard: Handler) -> None:
        """In another thread, until the end: handle signals not taken within `PATIENCE` seconds."""
        while not self._ended.is_set():
            select.select([self._reading], [], [])
            if not self._ended.wait(PATIENCE):
                for number in self.taken():
                    unheard(number)

    def end(self) -> None:
        """End the watch."""
        self._ended.set()
        os.write(self.writing, b"\0")

    def close(self) -> None:
        """Close the pipe, once Python no longer fills it."""
        os.close(self._reading)
        os.close(self.writing)


class _Hearing:
    """How the main thread handles pending signals.

    raised: the signal that raised an exception, and the exception; None so far
    unraisable: the hook that `lost` replaces
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
        """Called by Python between two instructions."""
        now = self._unheard if self._unheard and _is_importing(frame) else self._handle
        for number in [] if self.raised else self._pending.taken():
            try:
                now(number)
            except BaseException as error:
                self.raised = number, error
                raise

    def lost(self, told: Any) -> None:
        """Raise again an exception from a callback of the garbage collector, which lost it."""
        if self.raised and told.exc_value is self.raised[1]:
            number, self.raised = self.raised[0], None
            threading.Timer(SOON, signal.raise_signal, [number]).start()
        else:
            self._unraisable(told)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one of its callers, belongs to an import."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
