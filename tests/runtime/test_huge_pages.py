"""A program starts again, once, as the same process with the same arguments."""

import subprocess
import sys

import pytest

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
