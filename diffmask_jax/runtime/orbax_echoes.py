"""Silences the echoes of an error that orbax raises: tracebacks by its threads and libraries.

If one of many arrays cannot be written, orbax raises an error and closes the event loop in which
the others are still being written. asyncio then logs every further failure, and tensorstore's
threads report that the loop they want to call back is closed.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

CLOSED = "Event loop is closed"
LOGGERS = ("absl", "asyncio")
THEIRS = ("/orbax/", "tensorstore")  # substrings of the paths and errors of both


def hush() -> None:
    """Silence all echoes, so that people see an error of orbax once."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(is_no_echo)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


def is_no_echo(record: logging.LogRecord) -> bool:
    """Whether a log record is about something else, judging by everything in it."""
    error = record.exc_info[1] if record.exc_info else None
    frames = traceback.extract_tb(error.__traceback__) if error else ()
    told = " ".join((record.pathname, record.getMessage(), *(frame.filename for frame in frames)))
    return not any(name in told for name in THEIRS)


class _Hook:
    """A `sys.unraisablehook`, called for exceptions in threads that C++ has started.

    before: the hook that it replaces
    """

    def __init__(self, before: Callable[[Any], object]) -> None:
        self._before = before

    def __call__(self, told: Any) -> None:
        if told.exc_type is not RuntimeError or str(told.exc_value) != CLOSED:
            self._before(told)
