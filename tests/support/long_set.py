"""Parameters of which some are in the short set and all in the long one."""

from collections.abc import Container, Iterable
from typing import Any

import pytest

from diffmask_jax.game.gates import GATES


def shown_by(short: Container[Any], values: Iterable[Any]) -> list[Any]:
    """The values, marked long but for those in `short`."""
    return [pytest.param(v, marks=[pytest.mark.long] * (v not in short)) for v in values]


EITHER_GATE = shown_by(("input",), GATES)
