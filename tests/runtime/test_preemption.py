"""SIGTERM is heard where it can be heeded, and the clock asks for a save."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from diffmask_jax.runtime import preemption
from diffmask_jax.runtime.preemption import STATUS, Notice, Stopped, Watch, ending_at_once


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_watch_only_takes_notice():
    before = signal.getsignal(signal.SIGTERM)
    with Watch(alone=True) as watch:
        assert watch.notice() == Notice.NONE
        terminate()
        terminate()  # whoever repeats himself is not understood better
        assert watch.notice() == Notice.STOP
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_clock_asks_for_a_save_until_there_was_one(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(preemption.time, "monotonic", lambda: now[0])
    watch = Watch(alone=True)
    now[0] += preemption.SAVE_EVERY - 1
    assert watch.notice() == Notice.NONE
    now[0] += 2
    assert watch.notice() == watch.notice() == Notice.SAVE
    watch.saved()
    assert watch.notice() == Notice.NONE


def test_alone_a_process_heeds_its_own_notice_and_with_others_what_was_agreed():
    for alone, heeded in ((True, Notice.STOP), (False, Notice.NONE)):
        with Watch(alone) as watch:
            terminate()
            assert watch.heed(Notice.NONE) == heeded
            assert watch.heed(Notice.STOP) == Notice.STOP
    assert Watch(alone=True).heed(1) == Notice.SAVE


def test_where_nothing_is_lost_it_ends_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped, ending_at_once():
        terminate()
    assert stopped.value.code == STATUS == 143 and stopped.value.step is None
    assert str(stopped.value) == "stopped by SIGTERM: the same command goes on"
    assert str(Stopped(7)) == "stopped by SIGTERM after step 7: the same command goes on"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_thread_leaves_signals_alone():
    found = []

    def watch() -> None:
        with Watch(alone=True) as watch:
            found.append(watch.notice())

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert found == [Notice.NONE]


def test_uncaught_it_is_a_status_and_no_traceback():
    code = "from diffmask_jax.runtime.preemption import Stopped\nraise Stopped(3)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (143, "")
