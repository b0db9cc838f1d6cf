"""The progress of long work where no terminal shows its bar: a plain line now and then."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from diffmask_jax.runtime.messages import say

Item = TypeVar("Item")

EVERY = 30.0
"""Seconds between two plain lines, of work that has no numbers of its own to tell."""


class PlainLines:
    """Lines that replace a progress bar which is not drawn, so few that a log stays short.

    every: the least number of seconds between two lines
    """

    def __init__(
        self, bar: tqdm, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bar, self._every, self._clock = bar, every, clock
        self._spoke = clock()

    def say(self, line: str) -> None:
        """Say a line in any case."""
        self._spoke = self._clock()
        say(line)

    def say_if_due(self, line: str) -> None:
        """Say a line if there is no bar and the last one was said long enough ago."""
        if self._bar.disable and self._clock() - self._spoke >= self._every:
            self.say(line)


def followed(items: Iterable[Item], what: str, units: str) -> Iterator[Item]:
    """The items, under a progress bar or plain lines such as "other methods: 20 of 50 texts"."""
    with tqdm(items, what, unit=f" {units}", disable=None, leave=False) as bar:
        lines = PlainLines(bar, EVERY)
        for done, item in enumerate(bar):
            of = "" if bar.total is None else f" of {bar.total}"
            lines.say_if_due(f"{what}: {done}{of} {units}")
            yield item
