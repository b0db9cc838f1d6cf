"""What is installed only where it is asked for, and what is said where it is not."""

import contextlib
import importlib.util
from collections.abc import Iterator

from diffmask_jax.errors import UserError


@contextlib.contextmanager
def needs(what: str, extra: str) -> Iterator[None]:
    """Around the import of what an extra of this package installs, and around its first use.

    what: is to be done with it, as messages call it.

    Raises: UserError that names the extra if a module is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(_missing(what, str(error.name or error), extra)) from error


def check_installed(module: str, what: str, extra: str) -> None:
    """The same before any work, without the time that importing takes. Raises: UserError."""
    if importlib.util.find_spec(module) is None:
        raise UserError(_missing(what, module, extra))


def _missing(what: str, module: str, extra: str) -> str:
    return f"{what} needs {module}: run `pip install 'diffmask_jax[{extra}]'`"
