"""The common parts of the experiments' commands: how they end, and what they need."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from diffmask_jax.runtime import ending
from diffmask_jax.runtime.extras import check_installed

P = ParamSpec("P")


def command(name: str) -> Callable[[Callable[P, object]], Callable[P, None]]:
    """Decorate an experiment's `main`, so that it ends like a command (`ending.status_of`).

    For experiments that keep their results, and continue from there when they are started again.
    """

    def ending_well(main: Callable[P, object]) -> Callable[P, None]:
        @functools.wraps(main)
        def run(*arguments: P.args, **named: P.kwargs) -> None:
            body = functools.partial(main, *arguments, **named)
            told, leaves = f"experiments.{name}", _is_from_a_shell()
            if status := ending.status_of(told, body, leaves=leaves, goes_on=True):
                sys.exit(status)

        return run

    return ending_well


def _is_from_a_shell() -> bool:
    """Whether this process was started as `python -m experiments.…`, not by a test."""
    return str(sys.modules["__main__"].__package__).startswith("experiments")


def need_torch() -> None:
    """Raises: UserError if PyTorch is not installed."""
    check_installed("torch", "the comparison with PyTorch", extra="torch")
