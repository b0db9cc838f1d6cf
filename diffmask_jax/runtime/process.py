"""A process as it was started: its standard streams, its variables, and what the machine refuses.

Nothing here imports JAX, for some of it has to be in order before JAX is imported.
"""

import contextlib
import errno
import io
import mmap
import os
import sys
from typing import NoReturn

from diffmask_jax.errors import UserError

OF_STDOUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO)
OF_FILES = (errno.EMFILE, errno.ENFILE)
OF_MEMORY = (
    *("RESOURCE_EXHAUSTED", "annot allocate memory", "failed to map segment"),
    *("can't start new thread", "std::bad_alloc"),
)
OF_DEVICES = ("nable to initialize backend", "nknown backend")
STRICTNESS = ("JAX_NUMPY_RANK_PROMOTION", "JAX_TRANSFER_GUARD", "JAX_NO_TRACING")
OUR_VARIABLES = ("JAX_", "XLA_", "SLURM_", "OMPI_", "TPU_", "KUBERNETES_", "COORDINATOR_")


def open_standard_streams() -> None:
    """Let streams that were closed (`>&-`) lead nowhere, and a terminal show what it can.

    Else the next file that is opened takes the number of one, and what a library writes to standard
    error is written into that file. One that is not UTF-8 shows a ? for what it has not.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if number and getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def hush_libraries() -> None:
    """Keep what libraries say to their developers off the screen, unless the user has asked for it.

    transformers advises to install PyTorch, which nothing here needs, and quotes files as is. XLA
    asks at length for a bug report on every program that takes minutes to compile, as an error (2);
    real ones are raised, too, and what ends the process (3) is told as before. Before JAX is
    imported, for it says 1 where nobody has said anything.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def draw_into_files() -> None:
    """Whatever windows matplotlib is told to draw in: a command has none."""
    os.environ["MPLBACKEND"] = "agg"


def forget_empty_variables() -> None:
    """Of those that JAX and its launchers read: an empty one says nothing, and JAX ends on some."""
    for name, value in [*os.environ.items()]:
        if not value and name.startswith(OUR_VARIABLES):
            del os.environ[name]


def forget_strictness() -> None:
    """Of variables by which JAX forbids who develops a program what is in order in this one."""
    for name in [*os.environ]:
        if name.startswith(STRICTNESS):
            del os.environ[name]


def check_bars() -> None:
    """Raises: UserError if a variable keeps tqdm, which draws bars, from being imported."""
    try:
        import tqdm  # noqa: F401
    except ValueError as error:
        raise UserError(f"tqdm cannot be started ({error}): see the variables TQDM_…") from error


def check_here() -> None:
    """Raises: UserError if the folder that a command was started in is gone."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the folder that this was started in cannot be read ({error.strerror}): cd to another"
        ) from error


def check_addresses(needed: int = 3 << 29) -> None:
    """needed: bytes that JAX's libraries and threads take without any model, 1.3 GiB on two cores.

    Raises: UserError if `ulimit -v` leaves fewer; the compiler would end in an abort.
    """
    try:
        import resource

        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            return
        mmap.mmap(-1, needed, mmap.MAP_PRIVATE, mmap.PROT_READ).close()
    except ImportError:  # neither it nor such a limit
        return
    except OSError as error:
        raise UserError(
            f"`ulimit -v` leaves less than the {needed / 2**30:.1f} GiB of addresses that JAX "
            "takes by itself: raise it, or limit the memory otherwise"
        ) from error


def leave_stdout() -> None:
    """Keep Python from complaining at exit about what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(status: int) -> NoReturn:
    """End right here, with all that was said on its way.

    Python's own end would wait for threads that compile, and take away under XLA's own what they
    work on: SIGSEGV instead of the status.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, full
            stream.flush()
    os._exit(status)


def refusal(error: Exception) -> str | None:
    """What the machine has refused, and what to do; None if an error is about something else."""
    said = next(iter(str(error).splitlines()), "")
    if isinstance(error, OSError) and error.errno in OF_FILES:
        return f"{(error.strerror or said).lower()}: raise `ulimit -n`"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in OF_STDOUT:
        leave_stdout()
        return f"cannot write standard output: {error.strerror}"
    if isinstance(error, MemoryError) or any(sign in said for sign in OF_MEMORY):
        return f"out of memory ({said or 'none is left'}): give less at once, or raise `ulimit -v`"
    if any(sign in said for sign in OF_DEVICES) or _finds_no_device(error):
        asked = said or os.environ.get("JAX_PLATFORMS")
        return f"JAX finds no device ({asked}): see the variable JAX_PLATFORMS"
    return None


def _finds_no_device(error: Exception) -> bool:
    """Of a kind that it knows and the machine has not, which JAX tells by an assertion alone."""
    if not isinstance(error, AssertionError) or (jax := sys.modules.get("jax")) is None:
        return False
    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        return True
    return False
