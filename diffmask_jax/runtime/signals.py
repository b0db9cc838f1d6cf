"""Signals that ask a process to end, heard even where Python is not running."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = {signal.SIGHUP: "SIGHUP", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
PATIENCE = 2.0  # seconds in which the main thread should come back to Python

Handler = Callable[[signal.Signals], None]


@contextlib.contextmanager
def handled(handle: Handler, unheard: Handler) -> Iterator[None]:
    """Let a function handle SIGHUP, Ctrl-C and SIGTERM, those that are not ignored (nohup).

    unheard: called in another thread where Python could not handle a signal for `PATIENCE` seconds,
    for it does so between two instructions, and XLA may compile for minutes in one.

    Threads may handle none, and leave them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    heard = threading.Event()

    def hear(number: int, _: object) -> None:
        heard.set()
        handle(signal.Signals(number))

    def stand_by() -> None:
        # 0: the end. Several at once may be heard as one.
        while 0 not in (numbers := os.read(reading, 512)):
            ours = [number for number in numbers if number in before]
            if ours and not heard.wait(PATIENCE):
                unheard(signal.Signals(ours[-1]))
            heard.clear()

    before = {
        number: signal.signal(number, hear)
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }
    others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=stand_by, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(others)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: it was not Python's
        os.write(writing, b"\0")
        thread.join()
        os.close(reading)
        os.close(writing)
