"""What a process starts with is put in order, and what the machine refuses is told in words."""

import errno
import os
import subprocess
import sys

import jax
import pytest

from diffmask_jax import cli
from diffmask_jax.runtime import compile_cache, process


def child(code: str, first: str, then: str = "") -> subprocess.CompletedProcess:
    """A Python that has imported `process` alone, started by a shell: first, a command; then."""
    shell = ["sh", "-c", f'{first} exec "$0" -c "$1" {then}', sys.executable]
    return subprocess.run(
        [*shell, f"from diffmask_jax.runtime import process\n{code}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stream_that_was_closed_leads_nowhere(number, tmp_path):
    """What is opened next does not take its number, so that nothing is written into it."""
    code = f"""
import os, sys
process.open_standard_streams()
with open({str(tmp_path / "data")!r}, "w") as file:
    assert file.fileno() > 2
    print("x"); print("y", file=sys.stderr)
    os.write({number}, b"z")
"""
    assert child(code, "", f"{number}>&-").returncode == 0
    assert (tmp_path / "data").read_bytes() == b""


def test_open_streams_are_left_alone():
    before = sys.stdin, sys.stdout, sys.stderr
    process.open_standard_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_empty_variables_are_forgotten_and_no_others(monkeypatch):
    for name in ("JAX_NUM_PROCESSES", "JAX_ENABLE_X64", "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    monkeypatch.setenv("NO_COLOR", "")
    process.forget_empty_variables()
    assert os.environ["JAX_PROCESS_ID"] == "3" and os.environ["NO_COLOR"] == ""
    assert not {"JAX_NUM_PROCESSES", "JAX_ENABLE_X64", "SLURM_PROCID"} & os.environ.keys()


def test_what_jax_forbids_its_developers_is_forgotten(monkeypatch):
    forbidden = {"JAX_NUMPY_RANK_PROMOTION": "raise", "JAX_NO_TRACING": "1"}
    forbidden |= {"JAX_TRANSFER_GUARD_HOST_TO_DEVICE": "disallow"}
    for name, value in forbidden.items() | {("JAX_PLATFORMS", "cpu")}:
        monkeypatch.setenv(name, value)
    process.forget_strictness()
    assert not forbidden.keys() & os.environ.keys() and os.environ["JAX_PLATFORMS"] == "cpu"


def test_a_device_that_jax_knows_and_the_machine_has_not_is_one_line(monkeypatch):
    """`JAX_PLATFORMS=cuda` without a GPU: JAX 0.10 has an assertion for it, and no word."""

    def devices():
        raise AssertionError

    assert process.refusal(AssertionError()) is None  # one of ours
    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    told = "JAX finds no device (cuda): check the environment variable JAX_PLATFORMS"
    assert process.refusal(AssertionError()) == told


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v")
@pytest.mark.parametrize(("kilobytes", "fits"), [(1_000_000, False), (4_000_000, True)])
def test_too_few_addresses_are_told_before_anything_aborts(kilobytes, fits):
    done = child("process.check_addresses()", f"ulimit -v {kilobytes};")
    assert (done.returncode == 0) == fits
    assert fits or "`ulimit -v` allows less than the 1.5 GiB" in done.stderr


REFUSED = {
    "cannot write standard output: No space left": OSError(errno.ENOSPC, "No space left on device"),
    "cannot write standard output: File too large": OSError(errno.EFBIG, "File too large"),
    "a/b: Permission denied": PermissionError(errno.EACCES, "Permission denied", "a/b"),
    "too many open files: raise `ulimit -n`": OSError(errno.EMFILE, "Too many open files", "a"),
    "out of memory (none is left)": MemoryError(),
    "out of memory (RESOURCE_EXHAUSTED: of 9 bytes)": ValueError("RESOURCE_EXHAUSTED: of 9 bytes"),
    "out of memory (can't start new thread)": RuntimeError("can't start new thread"),
    "out of memory (a.so: failed to map segment": ImportError("a.so: failed to map segment from"),
    "JAX finds no device (Unable to initialize backend 'x'": RuntimeError(
        "Unable to initialize backend 'x': y\nmore"
    ),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_the_machine_refuses_is_one_line(says, monkeypatch, capsys):
    def refused(options):
        raise REFUSED[says]

    monkeypatch.setattr(process, "leave_stdout", lambda: None)
    monkeypatch.setattr("diffmask_jax.commands.explain.run", refused)
    assert cli.main(["explain", "run", "text"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"diffmask: {says}") and err.count("\n") == 1


def test_a_folder_that_is_gone_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert cli.main(["explain", "run", "text", "--jsonl", "out.jsonl"]) == 2
    assert "the current folder cannot be read (No such file" in capsys.readouterr().err
    tmp_path.mkdir()


def test_programs_are_kept_nowhere_for_a_user_without_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compile_cache._home() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its standard says to ignore
    assert compile_cache._home() == tmp_path / ".cache"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as of a user that is not known
    assert compile_cache._home() is None


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    for ours in (RuntimeError("x"), OSError("x"), KeyError("x"), ValueError("x")):
        assert process.refusal(ours) is None


@pytest.mark.parametrize(
    ("variable", "told"),
    [({"JAX_ENABLE_X64": "perhaps"}, "JAX_"), ({"TQDM_NCOLS": "abc"}, "TQDM_")],
)
def test_a_variable_that_a_library_does_not_take_is_named(variable, told):
    """In a process of its own, for it is read when the library is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "diffmask_jax.cli", "explain", "run", "text"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variable},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert "cannot start (" in done.stderr and told in done.stderr


STOPPED = """
import os, signal, sys, threading, time
from diffmask_jax import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what is in the background
def compile(_):
    threading.Thread(target=time.sleep, args=(1000,)).start()
    os.kill(os.getpid(), signal.{name})
    time.sleep(1000)
cli._run = compile
sys.stdout.write("half a line")
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    ("name", "told", "status"), [("SIGINT", "Ctrl-C", 130), ("SIGTERM",) * 2 + (143,)]
)
def test_a_command_that_was_stopped_does_not_wait_for_threads(name, told, status):
    """They compile, or compute, and XLA's are not to be taken their memory away."""
    done = subprocess.run(
        [sys.executable, "-c", STOPPED.format(name=name)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GLIBC_TUNABLES": ""},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.stderr == f"diffmask: stopped by {told}\n"
    assert (done.returncode, done.stdout) == (status, "half a line")


LOUD = """
import socket
process.hush_libraries()
import jax
with socket.socket() as taken:
    taken.bind(("", 0))
    taken.listen()
    jax.profiler.start_server(taken.getsockname()[1])
"""


def test_what_xla_says_to_its_developers_is_not_said_unless_it_is_asked_for():
    """By an error of its log that is soon there: the one about slow compilation takes minutes."""
    asked = child(LOUD, "TF_CPP_MIN_LOG_LEVEL=1")
    assert "server.cc:" in asked.stderr and asked.returncode == 0
    quiet = child(LOUD, "unset TF_CPP_MIN_LOG_LEVEL;")
    assert (quiet.stderr, quiet.returncode) == ("", 0)
