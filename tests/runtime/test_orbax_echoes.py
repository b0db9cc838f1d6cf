"""Of what orbax raises nothing is said beside it; of everything else all is said."""

import logging
import sys
from types import SimpleNamespace

import pytest

from diffmask_jax.runtime import orbax_echoes


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """What the hook before ours is told."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    orbax_echoes.hush()
    orbax_echoes.hush()  # as of a second checkpoint
    return told


@pytest.mark.parametrize(
    "task",
    [
        "Task exception was never retrieved\nfuture: <Task coro=<f() at /x/orbax/a.py:1>>",
        "Future exception was never retrieved\nfuture: <ValueError('[tensorstore_spec=…]')>",
        "Task was destroyed but it is pending!\ntask: <Task coro=<f() at /x/orbax/a.py:1>>",
    ],
)
def test_tasks_of_orbax_and_of_others(caplog, task):
    other = task.replace("orbax", "mine").replace("tensorstore", "mine")
    for line in (task, other):
        logging.getLogger("asyncio").error(line, exc_info=ValueError("full"))
    assert [record.getMessage() for record in caplog.records] == [other]


def test_a_future_that_tells_nothing_is_known_by_where_it_failed(caplog):
    for file in ("/x/orbax/a.py", "/x/mine/a.py"):
        try:
            exec(compile("open('/nowhere/x')", file, "exec"))
        except OSError as error:
            logging.getLogger("asyncio").error("never retrieved", exc_info=error)
    (record,) = caplog.records
    assert "/x/mine/a.py" in record.exc_text


def test_a_thread_that_calls_back_too_late(told):
    """As tensorstore's threads do."""
    closed, other = RuntimeError(orbax_echoes.CLOSED), RuntimeError("x")
    for error in (closed, other):
        sys.unraisablehook(SimpleNamespace(exc_type=type(error), exc_value=error))
    assert [one.exc_value for one in told] == [other]
