"""Of several processes one holds a folder; the others hear who it is; a dead one holds none."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import locks

HOLDING = """
import sys
from pathlib import Path
from diffmask_jax.runtime import locks
locks.WAIT = int(sys.argv[2])
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def start(tmp_path, child_environment):
    """A process that wants a folder, holds it until it is spoken to, and has the given patience."""
    with contextlib.ExitStack() as opened:

        def started(wait: int = 1) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-c", HOLDING, str(tmp_path / "run"), str(wait)],
                env=child_environment(), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            opened.callback(process.communicate)
            opened.callback(process.kill)
            return process

        yield started


@pytest.fixture
def impatient(monkeypatch):
    """One try, and no second of waiting."""
    monkeypatch.setattr(locks, "WAIT", 1)
    monkeypatch.setattr(locks.time, "sleep", lambda _: None)


def test_a_folder_is_made_and_nothing_stays_in_it(tmp_path):
    with locks.held(tmp_path / "a" / "b"):
        assert os.listdir(tmp_path / "a" / "b") == [locks.FILE]
    assert os.listdir(tmp_path / "a" / "b") == []
    with locks.held(tmp_path / "a" / "b"):
        pass


def test_a_second_one_hears_who_holds_it_and_a_third_may_have_it_after_a_kill(
    start, tmp_path, impatient, capsys
):
    first = start()
    assert first.stdout.readline() == "held\n"
    with pytest.raises(UserError) as refused, locks.held(tmp_path / "run"):
        pytest.fail("two hold it")
    told = str(refused.value)
    assert f"run is in use by process {first.pid} on {locks.socket.gethostname()} since 20" in told
    assert "(-c " in told and "choose another out" in told and "\n" not in told
    waiting = capsys.readouterr().err
    assert f"process {first.pid}" in waiting and "waiting up to 1 s" in waiting
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "run" / locks.FILE).exists()
    with locks.held(tmp_path / "run"):
        assert capsys.readouterr().err == ""
    assert os.listdir(tmp_path / "run") == []


def test_who_waits_has_it_afterwards(start):
    first = start()
    assert first.stdout.readline() == "held\n"
    second = start(wait=600)
    assert f"in use by process {first.pid}" in second.stderr.readline()
    first.communicate("go\n")
    assert second.stdout.readline() == "held\n"
    second.communicate("go\n")
    assert (first.returncode, second.returncode) == (0, 0)


def test_never_two_at_once(tmp_path, monkeypatch):
    """Removing the file and locking it again are of one piece, whoever comes in between."""
    monkeypatch.setattr(locks.time, "sleep", lambda _: None)
    monkeypatch.setattr(locks, "WAIT", 10**9)
    monkeypatch.setattr(locks.distributed, "say", lambda _: None)
    inside, most = [], []

    def work() -> None:
        for _ in range(100):
            with locks.held(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 400 and max(most) == 1


def test_a_file_system_without_locks_is_told_and_goes_on(tmp_path, monkeypatch, capsys):
    def without(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", without)
    with locks.held(tmp_path):
        told = capsys.readouterr().err
    assert told.count("\n") == 1 and "does not support locks (No locks available)" in told


def test_where_nobody_may_write_nothing_is_held(tmp_path, monkeypatch, capsys):
    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.os, "open", read_only)
    with locks.held(tmp_path):
        assert capsys.readouterr().err == ""


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / locks.FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot make or lock"), locks.held(tmp_path / "run"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{", '{"pid": 3}', "[1]"])
def test_whatever_the_file_says_somebody_holds_it(tmp_path, content, impatient):
    with locks.held(tmp_path):
        (tmp_path / locks.FILE).write_text(content)
        with pytest.raises(UserError, match="by another process:"), locks.held(tmp_path):
            pass
