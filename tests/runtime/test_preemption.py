"""Signals are heard where they can be heeded, and the clock asks for a save."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from diffmask_jax.runtime import preemption, signals
from diffmask_jax.runtime.preemption import Notice, Stopped, Watch, ending_at_once

ENDING = [
    (signal.SIGTERM, Notice.TERMINATE, 143, "SIGTERM"),
    (signal.SIGHUP, Notice.HANGUP, 129, "SIGHUP"),
    (signal.SIGINT, Notice.INTERRUPT, 130, "Ctrl-C"),
]


@pytest.fixture(autouse=True)
def unignored():
    """nohup ignores SIGHUP, and a script Ctrl-C for what it has in the background."""
    before = {number: signal.getsignal(number) for number, *_ in ENDING}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "notice", "status", "_"), ENDING)
def test_a_watch_only_takes_notice(number, notice, status, _, capsys, monkeypatch):
    monkeypatch.setattr(signals, "PATIENCE", 0.1)  # it is not about who is not heard
    before = signal.getsignal(number)
    with Watch(alone=True) as watch:
        assert watch.heed(Notice.NONE) == watch.notice() == Notice.NONE
        send(number)
        assert watch.notice() == notice == status and notice.stops
        send(signal.SIGTERM)
        send(signal.SIGTERM)  # whoever repeats himself is not understood better
        assert watch.notice() == Notice.TERMINATE
    assert signal.getsignal(number) == before
    told = "stopping and saving after this call; Ctrl-C again stops at once without saving\n"
    assert capsys.readouterr().err == (told if number == signal.SIGINT else "")


def test_ctrl_c_again_ends_at_once():
    with pytest.raises(KeyboardInterrupt), Watch(alone=True) as watch:
        watch.heed(Notice.NONE)
        send(signal.SIGINT)
        send(signal.SIGINT)


def test_the_clock_asks_for_a_save_until_there_was_one(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(preemption.time, "monotonic", lambda: now[0])
    watch = Watch(alone=True)
    now[0] += preemption.SAVE_EVERY - 1
    assert watch.notice() == Notice.NONE
    now[0] += 2
    assert watch.notice() == watch.notice() == Notice.SAVE and not Notice.SAVE.stops
    watch.saved()
    assert watch.notice() == Notice.NONE


def test_alone_a_process_heeds_its_own_notice_and_with_others_what_was_agreed():
    for alone, heeded in ((True, Notice.TERMINATE), (False, Notice.NONE)):
        with Watch(alone) as watch:
            watch.heed(Notice.NONE)
            send(signal.SIGTERM)
            assert watch.heed(Notice.NONE) == heeded
            assert watch.heed(Notice.TERMINATE) == Notice.TERMINATE
    assert Watch(alone=True).heed(1) == Notice.SAVE


@pytest.mark.parametrize(("number", "_", "status", "name"), ENDING)
@pytest.mark.parametrize("watch", [ending_at_once, lambda: Watch(alone=True)])
def test_where_nothing_would_be_lost_it_ends_at_once(number, _, status, name, watch):
    """A watch before its first call has run is such a place."""
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, watch():
        send(number)
    assert stopped.value.code == status and stopped.value.step is None
    assert str(stopped.value) == f"stopped by {name}: run the same command to continue"
    assert signal.getsignal(number) == before


def test_with_others_nobody_ends_alone():
    with Watch(alone=False) as watch:
        send(signal.SIGTERM)
        assert watch.notice() == Notice.TERMINATE


@pytest.mark.parametrize(("number", "_", "status", "name"), ENDING)
def test_with_nothing_to_lose_a_process_that_is_alone_ends_at_once(number, _, status, name):
    told = f"stopped by {name}: run"
    with pytest.raises(Stopped, match=told) as stopped, Watch(alone=True) as watch:
        watch.heed(Notice.NONE)
        with watch.nothing_to_lose():
            send(number)
            pytest.fail("it went on")
    assert stopped.value.code == status and stopped.value.step is None


def test_a_notice_given_before_is_a_reason_to_end_once_there_is_nothing_to_lose():
    with Watch(alone=True) as watch:
        watch.heed(Notice.NONE)
        with watch.nothing_to_lose():
            pass
        send(signal.SIGTERM)  # only sets a notice, as before
        with pytest.raises(Stopped, match="stopped by SIGTERM: run"), watch.nothing_to_lose():
            pytest.fail("it went on")


def test_with_nothing_to_lose_nobody_ends_alone():
    with Watch(alone=False) as watch, watch.nothing_to_lose():
        send(signal.SIGTERM)
        assert watch.notice() == Notice.TERMINATE


def test_a_step_is_told():
    stopped = Stopped(Notice.TERMINATE, 7)
    assert str(stopped) == "stopped by SIGTERM after step 7: run the same command to continue"


def test_what_is_ignored_stays_ignored():
    """As by nohup, or in the background of a script."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_at_once():
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_leaves_signals_alone():
    found = []

    def watch() -> None:
        with Watch(alone=True) as watch:
            found.append(watch.notice())

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert found == [Notice.NONE]


@pytest.mark.parametrize("watch", [ending_at_once, lambda: Watch(alone=True)])
def test_who_cleans_up_is_not_interrupted_again(watch):
    cleaned = []
    with pytest.raises(Stopped), watch():
        try:
            send(signal.SIGINT)
        finally:
            for _ in range(3):
                send(signal.SIGINT)
            cleaned.append(True)
    assert cleaned


def test_what_a_callback_cannot_raise_is_raised_behind_it(capsys):
    """JAX has one in the garbage collector, which would swallow a signal that comes meanwhile."""
    called = []

    def callback(*_):
        if not called:
            called.append(True)
            send(signal.SIGINT)

    gc.callbacks.append(callback)
    try:
        with pytest.raises(Stopped) as stopped, ending_at_once():
            gc.collect()
            while True:
                time.sleep(0.01)
    finally:
        gc.callbacks.remove(callback)
    assert called and stopped.value.code == 130 and capsys.readouterr().err == ""


def test_each_signal_is_handled_once():
    heard = []
    with signals.handled(heard.append, None):
        send(signal.SIGINT)
        send(signal.SIGTERM)
        send(signal.SIGINT)
    assert heard == [signal.SIGINT, signal.SIGTERM, signal.SIGINT]


STUCK = """
import ctypes, os, signal, threading, time
from diffmask_jax.errors import speaking_to_a_shell as shell
from diffmask_jax.runtime import signals
from diffmask_jax.runtime.preemption import Notice, Watch, ending_at_once
signals.PATIENCE = 0.1
pthreads, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
def again_and_again():
    while True:
        time.sleep(0.3)
        {action}
with {watch} as watch:
    {before}
    print("half a line", end="", flush=True)
    threading.Thread(target=again_and_again, daemon=True).start()
    pthreads.pthread_mutex_lock(mutex)
    pthreads.pthread_mutex_lock(mutex)
"""


def stuck(action: str, watch: str, before: str = "pass") -> tuple[int, str]:
    """The end of a process in which Python does not run, while a thread acts again and again."""
    code = STUCK.format(action=action, watch=watch, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout == "half a line"
    return done.returncode, done.stderr


@pytest.mark.parametrize("watch", ["ending_at_once()", "Watch(alone=True)"])
def test_while_python_does_not_run_it_ends_as_well(watch):
    """A compilation of minutes may not keep a process from ending, and is in C all the time."""
    told = "diffmask: stopped by SIGTERM: run the same command to continue\n"
    assert stuck("os.kill(os.getpid(), signal.SIGTERM)", f"shell(), {watch}") == (143, told)


def test_ctrl_c_again_ends_while_python_does_not_run():
    """As between two calls that are saved, while a program for another length is compiled."""
    ended = stuck(
        "os.kill(os.getpid(), signal.SIGINT)",
        "shell(), Watch(alone=True)",
        before="watch.heed(Notice.NONE)",
    )
    told = (
        "stopping and saving after this call; Ctrl-C again stops at once without saving\n"
        "diffmask: interrupted\n"
    )
    assert ended == (130, told)


def test_in_the_midst_of_an_import_nothing_is_raised(tmp_path):
    """What C++ imports does not expect it: jaxlib may end in SIGSEGV."""
    (tmp_path / "module.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException:\n    print('raised')\n"
    )
    code = f"""
import sys
from diffmask_jax.errors import speaking_to_a_shell
from diffmask_jax.runtime.preemption import ending_at_once
sys.path.append({str(tmp_path)!r})
with speaking_to_a_shell(), ending_at_once():
    import module
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    told = "diffmask: stopped by Ctrl-C: run the same command to continue\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)


def test_where_no_command_runs_the_process_is_not_ended():
    """A notebook has more to lose than a training: it waits until Python is back."""
    once = "sent or sent.append(os.kill(os.getpid(), signal.SIGTERM)); time.sleep(0.3)"
    unlock = "pthreads.pthread_mutex_unlock(mutex)"
    ended = stuck(f"{once}; {unlock}", "ending_at_once()", before="sent = []")
    assert ended == (143, "")  # raised in the end, and caught by nobody


def test_uncaught_it_is_a_status_and_no_traceback():
    code = "from diffmask_jax.runtime.preemption import *\nraise Stopped(Notice.TERMINATE, 3)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (143, "")
