"""Signals that ask a process to end, heard even where Python is not running."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.getsignal(number) for number in heard}
    reading, writing = os.pipe()  # holds the signals that nobody has handled yet
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    ended = threading.Event()
    raised: tuple[int, BaseException] | None = None

    def taken() -> list[signal.Signals]:
        with contextlib.suppress(BlockingIOError):
            return [signal.Signals(n) for n in os.read(reading, 512) if n in heard]
        return []

    def hear(_: int, frame: FrameType | None) -> None:
        nonlocal raised
        now = unheard if unheard and _is_importing(frame) else handle
        for number in [] if raised else taken():
            try:
                now(number)
            except BaseException as error:
                raised = number, error
                raise

    def lost(told: Any) -> None:
        """What was raised in a callback of the garbage collector, which cannot raise: again."""
        nonlocal raised
        if raised and told.exc_value is raised[1]:
            number, raised = raised[0], None
            threading.Timer(SOON, signal.raise_signal, [number]).start()
        else:
            unraisable(told)

    def stand_by(unheard: Handler) -> None:
        while not ended.is_set():
            select.select([reading], [], [])
            if not ended.wait(PATIENCE):
                for number in taken():
                    unheard(number)

    thread = threading.Thread(target=stand_by, args=(unheard,), name="signals", daemon=True)
    others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    unraisable, sys.unraisablehook = sys.unraisablehook, lost
    try:
        for number in heard:
            signal.signal(number, hear)
        if unheard:
            thread.start()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: it was not Python's
        signal.set_wakeup_fd(others)
        if sys.unraisablehook is lost:
            sys.unraisablehook = unraisable
        ended.set()
        os.write(writing, b"\0")
        if thread.is_alive():
            thread.join()
        late = [] if raised else taken()
        os.close(reading)
        os.close(writing)
        for number in late:  # for whoever handles them now
            signal.raise_signal(number)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that it was called from, belongs to an import."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
