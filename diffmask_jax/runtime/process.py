"""The environment of a process: standard streams, variables, limits, and what a machine refuses.

Nothing here imports JAX, since some of it must be set up before.
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
    """Open closed standard streams (`>&-`) on the null device, and never fail on an encoding.

    Otherwise the next file opened would get the descriptor of a standard stream, and libraries'
    messages would be written to it. A stream that is not UTF-8 shows ? for missing characters.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
        if number and getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def hush_libraries() -> None:
    """Keep libraries' messages to developers off the screen, unless the user wants them.

    transformers recommends PyTorch, which nothing here needs, and quotes files unescaped. XLA
    requests a bug report, as an error (level 2), for every program that takes minutes to compile;
    real errors are also raised, and fatal ones (level 3) are still shown. Must be called before JAX
    is imported, which otherwise sets level 1.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def draw_into_files() -> None:
    """Make matplotlib draw into files, whatever backend is configured: a command has no windows."""
    os.environ["MPLBACKEND"] = "agg"


def forget_empty_variables() -> None:
    """Unset empty variables of JAX and its launchers: they say nothing, and JAX fails on some."""
    for name, value in [*os.environ.items()]:
        if not value and name.startswith(OUR_VARIABLES):
            del os.environ[name]


def forget_strictness() -> None:
    """Unset JAX's variables for developers that forbid what this program legitimately does."""
    for name in [*os.environ]:
        if name.startswith(STRICTNESS):
            del os.environ[name]


def check_bars() -> None:
    """Raises: UserError if an environment variable keeps tqdm from being imported."""
    try:
        import tqdm  # noqa: F401
    except ValueError as error:
        raise UserError(
            f"tqdm cannot start ({error}): check the environment variables TQDM_…"
        ) from error


def check_here() -> None:
    """Raises: UserError if the working directory no longer exists."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the current folder cannot be read ({error.strerror}): cd to another"
        ) from error


def check_addresses(needed: int = 3 << 29) -> None:
    """Raises: UserError if `ulimit -v` leaves too few addresses; the compiler would abort.

    needed: bytes that JAX's libraries and threads take without any model, 1.3 GiB on two cores
    """
    try:
        import resource

        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            return
        mmap.mmap(-1, needed, mmap.MAP_PRIVATE, mmap.PROT_READ).close()
    except ImportError:  # a system without the module and without such limits
        return
    except OSError as error:
        raise UserError(
            f"`ulimit -v` allows less than the {needed / 2**30:.1f} GiB of addresses that JAX "
            "needs for itself: raise it, or limit memory in another way"
        ) from error


def leave_stdout() -> None:
    """Keep Python from complaining at exit about output that it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(status: int) -> NoReturn:
    """Flush the standard streams and end the process immediately.

    A normal exit of Python would wait for threads that compile, and destroy objects that XLA's
    threads still use: SIGSEGV instead of the status.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed stream, full disk
            stream.flush()
    os._exit(status)


def refusal(error: Exception) -> str | None:
    """What the machine refused, and what to do; None if the error has another cause."""
    said = next(iter(str(error).splitlines()), "")
    if isinstance(error, OSError) and error.errno in OF_FILES:
        return f"{(error.strerror or said).lower()}: raise `ulimit -n`"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in OF_STDOUT:
        leave_stdout()
        return f"cannot write standard output: {error.strerror}"
    if isinstance(error, MemoryError) or any(sign in said for sign in OF_MEMORY):
        return (
            f"out of memory ({said or 'none is left'}): process less at once, or raise `ulimit -v`"
        )
    if any(sign in said for sign in OF_DEVICES) or _finds_no_device(error):
        asked = said or os.environ.get("JAX_PLATFORMS")
        return f"JAX finds no device ({asked}): check the environment variable JAX_PLATFORMS"
    return None


def _finds_no_device(error: Exception) -> bool:
    """Whether JAX finds no device of a kind it knows, which it reports only by an assertion."""
    if not isinstance(error, AssertionError) or (jax := sys.modules.get("jax")) is None:
        return False
    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        return True
    return False
