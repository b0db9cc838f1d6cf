"""Optional dependencies, and the error if one is not installed."""

import contextlib
import importlib.util
from collections.abc import Iterator

from diffmask_jax.errors import UserError


@contextlib.contextmanager
def needs(what: str, extra: str) -> Iterator[None]:
    """Around the import and the first use of modules that an extra of this package installs.

    what: the purpose, for messages

    Raises: UserError that names the extra if a module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(_missing(what, str(error.name or error), extra)) from error


def check_installed(module: str, what: str, extra: str) -> None:
    """Check for a module without importing it, which takes time. Raises: UserError as `needs`."""
    if importlib.util.find_spec(module) is None:
        raise UserError(_missing(what, module, extra))


def _missing(what: str, module: str, extra: str) -> str:
    return f"{what} needs {module}: run `pip install 'diffmask_jax[{extra}]'`"
