"""One damaged file after the other: each goes well or is refused in a line, and soon."""

import collections
import contextlib
import os
import signal
from collections.abc import Iterator

from hypothesis import HealthCheck, settings

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.messages import LONGEST, line_of, visible

CASES = int(os.environ.get("FUZZ_CASES", "0"))
"""Of every kind of file: new ones by `make fuzz`; in the suite a few, always the same."""
HANG, WAIT = 20, 300  # seconds of work, and of waiting for something that never comes
OUTCOMES: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)

some = settings(
    max_examples=CASES or 6,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Hang(BaseException):
    """A case that takes too long."""


@contextlib.contextmanager
def tried(kind: str) -> Iterator[None]:
    """A context in which one file of a kind is read."""
    alarms = (signal.SIGPROF, signal.ITIMER_PROF, HANG), (signal.SIGALRM, signal.ITIMER_REAL, WAIT)
    before = [signal.signal(sign, _hang) for sign, _, _ in alarms]
    for _, timer, seconds in alarms:
        signal.setitimer(timer, seconds)
    outcome = "traceback"
    try:
        yield
        outcome = "accepted"
    except UserError as error:
        outcome = "refused"
        line = line_of(error)
        assert line.strip() and line == visible(line) and len(line) <= LONGEST + 3
    except Hang:
        outcome = "hang"
        raise
    finally:
        OUTCOMES[kind][outcome] += 1
        for (sign, timer, _), handler in zip(alarms, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(sign, handler)


def _hang(*_: object) -> None:
    raise Hang


def table() -> Iterator[str]:
    """Lines: what became of the cases of every kind."""
    columns = ("accepted", "refused", "traceback", "hang")
    total: collections.Counter = collections.Counter()
    yield f"{'kind of file':<28}{'cases':>7}" + "".join(f"{name:>11}" for name in columns)
    for kind, found in [*sorted(OUTCOMES.items()), ("all", total)]:
        numbers = "".join(f"{found[name]:>11}" for name in columns)
        yield f"{kind:<28}{found.total():>7}{numbers}"
        total += found
