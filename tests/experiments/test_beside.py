"""Parts of an experiment beside each other: all of them are under way, and none is lost."""

import threading

import pytest

from experiments.common import beside as module
from experiments.common.beside import beside
from experiments.common.report import Timer


def test_parts_run_beside_each_other_and_keep_their_names(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    meet, timer = threading.Barrier(2, timeout=60), Timer()
    found = beside({"b": meet.wait, "a": meet.wait, "c": lambda: "done"}, timer)
    assert list(found) == ["b", "a", "c"] and found["c"] == "done"
    assert {found["a"], found["b"]} == {0, 1}, "each waited for the other"
    assert timer.seconds.keys() == found.keys()
    assert timer.passed > 0


def test_a_part_that_fails_is_heard(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)

    def fail():
        raise ValueError("said why")

    with pytest.raises(ValueError, match="said why"):
        beside({"good": lambda: 1, "bad": fail}, Timer())
