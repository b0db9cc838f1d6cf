"""Of what orbax raises nothing is said beside it; of everything else all is said."""

import errno
import logging
import os
import sys
import threading

import pytest

from diffmask_jax.runtime import orbax_echoes


@pytest.fixture(autouse=True)
def hushed(monkeypatch):
    """What the hook before ours is told."""
    told = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: told.append(error))
    orbax_echoes.hush()
    orbax_echoes.hush()  # as of a second checkpoint
    return told


def test_a_full_disk_in_a_future_that_nobody_asks(caplog):
    for number in (errno.ENOSPC, errno.EACCES):
        error = OSError(number, os.strerror(number))
        logging.getLogger("asyncio").error("never retrieved", exc_info=error)
    assert [record.exc_info[1].errno for record in caplog.records] == [errno.EACCES]


@pytest.mark.parametrize(
    "task",
    [
        "Task exception was never retrieved\nfuture: <Task coro=<f() at /orbax/a.py:1>>",
        "Future exception was never retrieved\nfuture: <ValueError('[tensorstore_spec=…]')>",
        "Task was destroyed but it is pending!\ntask: <Task coro=<f() at /x/orbax/a.py:1>>",
    ],
)
def test_tasks_of_orbax_and_of_others(caplog, task):
    for told in (task, task.replace("orbax", "mine").replace("tensorstore", "mine")):
        logging.getLogger("asyncio").error(told, exc_info=ValueError("full"))
    assert [record.getMessage() for record in caplog.records] == [
        task.replace("orbax", "mine").replace("tensorstore", "mine")
    ]


def test_a_thread_that_calls_back_too_late(hushed):
    """As tensorstore's threads do; what ends the main thread, or is another error, is shown."""

    def end(error: BaseException) -> None:
        sys.excepthook(type(error), error, None)

    closed, other = RuntimeError(orbax_echoes.CLOSED), RuntimeError("x")
    for error in (closed, other):
        thread = threading.Thread(target=end, args=(error,))
        thread.start()
        thread.join()
    end(closed)
    assert [error for _, error, _ in hushed] == [other, closed]
