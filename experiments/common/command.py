"""What all experiments' commands share: how they end, and what they need."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from diffmask_jax.errors import UserError, speaking_to_a_shell
from diffmask_jax.runtime import preemption, process
from diffmask_jax.runtime.extras import check_installed
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.preemption import Stopped, ending_at_once


@contextmanager
def told_in_one_line(name: str) -> Iterator[None]:
    """Exits with 2 after a mistake told in a line; with 130, 143 or 129 after a signal (`Stopped`).

    For experiments that keep what is done, and go on from there when they are started again.
    """
    with speaking_to_a_shell(), ending_at_once():
        try:
            yield
        except UserError as error:
            print(f"experiments.{name}: {error}", file=sys.stderr)
            sys.exit(2)
        except (Stopped, KeyboardInterrupt) as stop:
            say(f"experiments.{name}: {preemption.told(stop)}")
            if _is_from_a_shell():
                process.leave(preemption.status(stop))
            sys.exit(preemption.status(stop))


def _is_from_a_shell() -> bool:
    """Whether it was started as `python -m experiments.…`, and not by a test."""
    return str(sys.modules["__main__"].__package__).startswith("experiments")


def need_torch() -> None:
    """Raises: UserError if PyTorch is not installed."""
    check_installed("torch", "the comparison with PyTorch", extra="torch")
