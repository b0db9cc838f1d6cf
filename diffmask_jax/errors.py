"""The one exception for mistakes that a person can correct."""

import contextlib
import re
from collections.abc import Iterator
from typing import ClassVar

FLAGS = {"anyway", "cache_states", "last_probe", "profile", "remat", "replay", "truncate"}
"""Options without a value."""

_QUOTED_OR_OPTION = re.compile(r"`[^`]*`|(?<![\w-])--([a-z][a-z-]*)(?: (\d[\w.]*))?")


class UserError(Exception):
    """A mistake in the input, with one line that says what is wrong and what to do.

    The command line prints the line to stderr and exits with status 2, without a traceback.

    Messages name options as on the command line, `--batch-size 32`. Callers from Python read
    `batch_size=32` instead, except between `backticks`, which enclose commands.
    """

    in_shell: ClassVar[bool] = False

    def __str__(self) -> str:
        line = super().__str__()
        return line if UserError.in_shell else _QUOTED_OR_OPTION.sub(_in_python, line)


@contextlib.contextmanager
def speaking_to_a_shell() -> Iterator[None]:
    """Around a command, whose messages name options as on the command line."""
    before, UserError.in_shell = UserError.in_shell, True
    try:
        yield
    finally:
        UserError.in_shell = before


def _in_python(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[0]
    name = found[1].replace("-", "_")
    value = found[2] or ("True" if name in FLAGS else None)
    return name if value is None else f"{name}={value}"
