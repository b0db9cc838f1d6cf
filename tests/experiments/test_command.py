"""Experiments as commands: how they start, and how they end."""

import errno
import signal
import subprocess
import sys

import pytest

from diffmask_jax.errors import UserError
from experiments.common.command import command, parser_of

STARTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what is in the background
os.execv(sys.executable, [sys.executable, "-m", "experiments.toy"])
"""

JAX = """
import os, signal, time
print("±", flush=True)
os.kill(os.getpid(), signal.{name})
time.sleep(1000)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_modules_are_imported_is_no_traceback(name, tmp_path, child_environment):
    """What stands here for JAX asks for it; and what a terminal cannot show is a ?."""
    (tmp_path / "jax.py").write_text(JAX.format(name=name))
    environment = child_environment(PYTHONIOENCODING="ascii")
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.Signals[name], "?\n", "")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (UserError("no such thing"), "no such thing"),
        (OSError(errno.EACCES, "Permission denied", "report.md"), "report.md: Permission denied"),
        (MemoryError(), "out of memory (none is left)"),
    ],
)
def test_what_a_person_can_put_right_is_a_line(fault, told, capsys):
    @command("study")
    def main() -> None:
        raise fault

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"experiments.study: {told}") and line.count("\n") == 1


def test_help_is_the_whole_docstring_and_a_mistake_is_a_line(capsys):
    told = "What it is about,\nwhich takes two lines.\n\n    python -m experiments.study [--out]\n"
    parser = parser_of("study", told)
    parser.add_argument("--seeds", type=int)
    assert told in parser.format_help()
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--seed", "1"])
    assert ended.value.code == 2
    line = "unrecognized arguments: --seed 1 (see python -m experiments.study --help)"
    assert capsys.readouterr().err == f"experiments.study: {line}\n"


def test_what_went_well_ends_without_an_exit(capsys):
    @command("study")
    def main(*words: str) -> None:
        print(*words)

    main("a", "b")
    assert capsys.readouterr() == ("a b\n", "")
