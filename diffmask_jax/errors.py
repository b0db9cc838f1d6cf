"""The one exception for what a person can put right."""

import contextlib
import re
from collections.abc import Iterator
from typing import ClassVar

FLAGS = {"anyway", "cache_states", "last_probe", "profile", "remat", "replay", "truncate"}
"""Options that are on or off."""

_QUOTED_OR_OPTION = re.compile(r"`[^`]*`|(?<![\w-])--([a-z][a-z-]*)(?: (\d[\w.]*))?")


class UserError(Exception):
    """A mistake in the input, told in one line that says what is wrong and what to do.

    The command line prints the line to stderr and exits with status 2; no traceback.

    Messages are written as the command line's user knows its options: `--batch-size 32`. Who calls
    from Python reads `batch_size=32`, but what stands between `backticks` is a command anywhere.
    """

    in_shell: ClassVar[bool] = False

    def __str__(self) -> str:
        line = super().__str__()
        return line if UserError.in_shell else _QUOTED_OR_OPTION.sub(_in_python, line)


@contextlib.contextmanager
def speaking_to_a_shell() -> Iterator[None]:
    """While a command runs, messages name options as that has them."""
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
