"""A program starts again, once, as the same process with the same arguments."""

import os
import subprocess
import sys

import pytest

from diffmask_jax.runtime.huge_pages import use_huge_pages

PROGRAM = """
import os, sys
from diffmask_jax.runtime.huge_pages import use_huge_pages

print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), flush=True)
use_huge_pages()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
@pytest.mark.parametrize("tuned", [None, "glibc.malloc.hugetlb=0"])
def test_a_program_is_started_again_unless_glibc_is_tuned(child_environment, tuned):
    environment = child_environment() | ({"GLIBC_TUNABLES": tuned} if tuned else {})
    command = [sys.executable, "-c", PROGRAM, "a b", "--c"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    said = "['a b', '--c'] "
    if tuned:
        assert [rest for _, rest in lines] == [said + tuned]
    else:
        assert [rest for _, rest in lines] == [said + "None", said + "glibc.malloc.hugetlb=1"]
    assert len({process for process, _ in lines}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_what_may_not_be_started_again_goes_on_as_it_is(monkeypatch):
    """Python in another user's home, say, whom it was run as."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys, "executable", "/dev/null")
    use_huge_pages()
    assert "GLIBC_TUNABLES" not in os.environ
