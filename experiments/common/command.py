"""What all experiments' commands share: how they end, and what they need."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.preemption import Stopped


@contextmanager
def told_in_one_line(name: str) -> Iterator[None]:
    """Exits with 2 after a mistake told in a line; with 130, 143 or 129 after a signal (`Stopped`).

    For experiments that keep what is done, and go on from there when they are started again.
    """
    try:
        yield
    except UserError as error:
        print(f"experiments.{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"experiments.{name}: interrupted; the same command goes on from here")
        sys.exit(130)
    except Stopped as stop:  # brings its status along
        print(f"experiments.{name}: {stop}", file=sys.stderr)
        raise


def need_torch() -> None:
    """Raises: UserError if PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            "PyTorch is missing: pip install torch, or pip install 'diffmask_jax[torch]'"
        )
