"""The progress of a training run: a bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from diffmask_jax.runtime.memory import GIB, most_taken
from diffmask_jax.runtime.plain_lines import PlainLines

EVERY = 10.0  # seconds between two plain lines
TIMED = 3  # calls that are timed before the first estimate
# Fits 80 columns in a run of 10,000 steps; tqdm cuts longer lines.
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
MEANING = (
    "masked: share of positions dropped; D: divergence this costs, in nats; agree: predictions "
    "that stay the same; λ: price of D"
)


class Progress:
    """Shows a run's steps, remaining time and numbers.

    Only calls that neither compiled nor waited for a validation or a checkpoint are timed. Every
    caution is shown once.

    margin: nats, shown beside the divergence
    speaks: whether this process is the one that prints
    """

    def __init__(
        self,
        steps: int,
        done: int,
        margin: float,
        speaks: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._done, self._margin = steps, done, margin
        self._speaks, self._clock = speaks, clock
        self._bar = tqdm(
            total=steps, initial=done, bar_format=BAR, disable=None if speaks else True
        )
        self._calls, self._timed_steps, self._seconds = 0, 0, 0.0
        self._since: float | None = None  # when the call being timed began
        self._lines = PlainLines(self._bar, EVERY, clock)
        self._cautions: set[str] = set()

    def __enter__(self) -> "Progress":
        self._say(MEANING)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def compiling(self, what: str) -> None:
        """Announce a compilation, during which the screen would otherwise stand still."""
        self.paused()
        self._say(f"compiling {what}")

    def paused(self) -> None:
        """Exclude the time since the last call from the timing."""
        self._since = None

    def caution(self, lines: Sequence[str]) -> None:
        """Show warnings that have not been shown yet."""
        for line in lines:
            if line not in self._cautions:
                self._cautions.add(line)
                self._say(f"warning: {line}")

    def advance(self, step: int, numbers: dict[str, float]) -> None:
        """Show a call that reached `step`. numbers: masked, divergence, agreement, multiplier."""
        now = self._clock()
        if self._since is not None:
            self._calls += 1
            self._timed_steps += step - self._done
            self._seconds += now - self._since
        first = self._since is not None and self._calls == TIMED
        self._since, self._done = now, step
        told = _told(numbers)
        self._bar.set_postfix_str(f"{self._left(brief=True)} {told}".strip(), refresh=False)
        self._bar.update(step - self._bar.n)
        if first and step < self._steps:
            self._say(
                f"{_time(self._each)} per step, at most {self._left()}; {most_taken() / GIB:.1f} "
                "GiB of memory so far"
            )
        elif self._speaks:
            left = f"; {self._left()}" if self._left() else ""
            line = f"step {step} of {self._steps}: {told} (margin {self._margin:g}){left}"
            self._lines.say_if_due(line)

    @property
    def _each(self) -> float:
        """Seconds per step, 0 before any is timed."""
        return self._seconds / max(self._timed_steps, 1)

    def _left(self, brief: bool = False) -> str:
        if self._calls < TIMED or self._done >= self._steps:
            return ""
        seconds = (self._steps - self._done) * self._each
        return f"{_brief_time(seconds)} left," if brief else f"{_time(seconds)} to go"

    def _say(self, line: str) -> None:
        if self._speaks:
            self._lines.say(line)


def _told(numbers: dict[str, Any]) -> str:
    return (
        f"masked {numbers['masked']:.1%}, D {numbers['divergence']:z.3f}, "
        f"agree {numbers['agreement']:.0%}, λ {numbers['multiplier']:.1f}"
    )


def _time(seconds: float) -> str:
    """40 ms, 1.3 s, 12 min, 3 h 20 min: as precise as such an estimate can be."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    return _brief_time(seconds, "{} h {} min")


def _brief_time(seconds: float, hours: str = "{}:{:02d} h") -> str:
    """40 s, 12 min, 3:20 h: no word longer than a bar has room for.

    hours: how whole hours and minutes are written
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else hours.format(*divmod(minutes, 60))
