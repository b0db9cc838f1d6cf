"""A full disk is one line, whoever writes, and what was saved before is still whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")
WRITERS = [
    *("checkpoint", "curves", "TensorBoard", "log of a run", "JSON, lines, page", "settings"),
    *("picture", "probe", "model"),
]


@pytest.fixture(scope="module")
def ends(tiny_bert, child_environment, tmp_path_factory):
    """What became of every writer."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    disk = tmp_path_factory.mktemp("disk")
    found = subprocess.run(
        ["unshare", "-rm", sys.executable, str(SCRIPT), str(disk), str(tiny_bert)],
        env=child_environment(), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    # A run's log shows its validations beside them.
    lines = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]
    return {line["writer"]: line for line in lines}, found.stderr


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_and_nothing_is_lost(ends, writer):
    end = ends[0][writer]
    assert end["ended"] == "told" and end["whole"], end
    (line,) = end["said"].splitlines()
    assert line.startswith("diffmask: ") and "no space left on device" in line.lower(), end


def test_no_thread_of_a_library_complains_beside_it(ends):
    assert ends[1] == ""
