"""What orbax raises is said again, with tracebacks: by its threads, asyncio, tensorstore. Unheard.

Where one of many arrays cannot be written, orbax raises that and closes the event loop in which the
others are still on their way. asyncio then logs each that fails, too, and tensorstore's threads
print that the loop which they want to call back is closed.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

CLOSED = "Event loop is closed"
LOGGERS = ("absl", "asyncio")
THEIRS = ("/orbax/", "tensorstore")  # in the paths and the errors of both


def hush() -> None:
    """Let people hear once what orbax raises, in whatever way it is told to them."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(is_no_echo)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


def is_no_echo(record: logging.LogRecord) -> bool:
    """Whether a line of a logger is about something else, by all that it names."""
    error = record.exc_info[1] if record.exc_info else None
    frames = traceback.extract_tb(error.__traceback__) if error else ()
    told = " ".join((record.pathname, record.getMessage(), *(frame.filename for frame in frames)))
    return not any(name in told for name in THEIRS)


class _Hook:
    """`sys.unraisablehook`, which is told of what a thread that C++ has started cannot raise.

    before: the hook that it stands for
    """

    def __init__(self, before: Callable[[Any], object]) -> None:
        self._before = before

    def __call__(self, told: Any) -> None:
        if told.exc_type is not RuntimeError or str(told.exc_value) != CLOSED:
            self._before(told)
