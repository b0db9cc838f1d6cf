"""What orbax raises is said again, with tracebacks: by its threads, asyncio, tensorstore. Unheard.

Where one of many arrays cannot be written, orbax raises that and closes the event loop in which the
others are still on their way. asyncio then logs each that fails, too, and the C++ threads of
tensorstore print that the loop which they want to call back is closed.
"""

import errno
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType

CLOSED = "Event loop is closed"
FULL = (errno.ENOSPC, errno.EDQUOT)
LOGGERS = ("absl", "asyncio")


def hush() -> None:
    """Let people hear once what orbax raises, in whatever way it is told to them."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(is_no_echo)
    if not isinstance(sys.excepthook, _Hook):
        sys.excepthook = _Hook(sys.excepthook)


def is_no_echo(record: logging.LogRecord) -> bool:
    """Whether a line of a logger is about something else.

    Of a future that orbax drops nothing tells whose it was, but that the disk is full.
    """
    error = record.exc_info[1] if record.exc_info else None
    is_full = isinstance(error, OSError) and error.errno in FULL
    told = f"{record.pathname} {record.getMessage()}"
    from_there = "orbax" in told or "tensorstore" in told
    return not from_there and not (record.name == "asyncio" and is_full)


class _Hook:
    """`sys.excepthook`, which Python calls in the main thread alone, and C++ in threads of its own.

    before: the hook that it stands for
    """

    def __init__(self, before: Callable[..., object]) -> None:
        self._before = before

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main or kind is not RuntimeError or str(error) != CLOSED:
            self._before(kind, error, trace)
