"""The common parts of the experiments' commands: their parser, how they end, what they need."""

import argparse
import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from diffmask_jax.commands.arguments import Parser
from diffmask_jax.runtime import ending
from diffmask_jax.runtime.extras import check_installed

P = ParamSpec("P")


def command(name: str, goes_on: bool = True) -> Callable[[Callable[P, object]], Callable[P, None]]:
    """Decorate an experiment's `main`, so that it ends like a command (`ending.status_of`).

    goes_on: whether it keeps its results, and continues from there when it is started again
    """

    def ending_well(main: Callable[P, object]) -> Callable[P, None]:
        @functools.wraps(main)
        def run(*arguments: P.args, **named: P.kwargs) -> None:
            body = functools.partial(main, *arguments, **named)
            told, leaves = f"experiments.{name}", _is_from_a_shell()
            if status := ending.status_of(told, body, leaves=leaves, goes_on=goes_on):
                sys.exit(status)

        return run

    return ending_well


def parser_of(name: str, docstring: str | None) -> Parser:
    """The parser of an experiment's command line, whose help begins with the whole docstring."""
    return Parser(
        f"experiments.{name}",
        prog=f"python -m experiments.{name}",
        description=docstring,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _is_from_a_shell() -> bool:
    """Whether this process was started as `python -m experiments.…`, not by a test."""
    return str(sys.modules["__main__"].__package__).startswith("experiments")


def need_torch() -> None:
    """Raises: UserError if PyTorch is not installed."""
    check_installed("torch", "the comparison with PyTorch", extra="torch")
