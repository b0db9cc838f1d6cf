"""Racing: contenders take turns on the same work; their times become a table and claims."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.runtime.plain_lines import followed
from experiments.common.report import Claim
from experiments.throughput.course import Chunk


class Contender(NamedTuple):
    """One way of training.

    run: takes a chunk's steps, and returns when they are done
    steps: how many steps of a chunk it takes, None for all; its speed counts only these
    compiling: seconds until its programs were ready, 0 if nothing is compiled
    """

    run: Callable[[Chunk], None]
    steps: int | None = None
    compiling: float = 0.0


class Lap(NamedTuple):
    """One round of one contender; tokens do not include padding."""

    seconds: float
    examples: int
    tokens: int

    @property
    def speed(self) -> float:
        """Examples per second."""
        return self.examples / self.seconds


Laps = dict[str, list[Lap]]
"""Contender -> its rounds."""


class Section(NamedTuple):
    """The part of one workload in the report."""

    title: str
    claims: list[Claim]
    body: str
    raw: dict[str, Any]


def race(contenders: dict[str, Contender], rounds: Sequence[Sequence[Chunk]], name: str) -> Laps:
    """All contenders run the work of every round in turn, each after an untimed chunk per length.

    A different one begins each round, so that none is always first or last. name: that of the race,
    for its progress.
    """
    shapes = {chunk.length: chunk for work in rounds for chunk in work}
    untimed = [(contender, list(shapes.values())) for contender in contenders]
    timed = [
        (contender, work)
        for number, work in enumerate(rounds)
        for contender in rotated([*contenders], number)
    ]
    laps: Laps = {contender: [] for contender in contenders}
    for contender, work in followed([*untimed, *timed], name, "turns"):
        laps[contender].append(lap(contenders[contender], work))
    return {contender: run[1:] for contender, run in laps.items()}


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The names, rotated by the number of the round."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def lap(contender: Contender, work: Iterable[Chunk]) -> Lap:
    """The time of one contender for some chunks."""
    work = list(work)
    start = time.perf_counter()
    for chunk in work:
        contender.run(chunk)
    seconds = time.perf_counter() - start
    valid = [chunk.batch.inputs.valid[: contender.steps] for chunk in work]
    examples = sum(array.shape[0] * array.shape[1] for array in valid)
    return Lap(seconds, examples, sum(int(np.sum(array)) for array in valid))


def ratios(laps: Laps, ours: str, theirs: str) -> list[float]:
    """How many times as fast ours is, round by round."""
    pairs = zip(laps[ours], laps[theirs], strict=True)
    return [mine.speed / other.speed for mine, other in pairs]


def ratio_claim(name: str, says: str, values: Sequence[float], atleast: float) -> Claim:
    """A claim about the median over rounds; the spread is their standard deviation."""
    middle, spread = float(np.median(values)), float(np.std(values))
    return Claim(name, says, None, middle, spread, len(values), "×", middle >= atleast)


def spread(values: Sequence[float]) -> str:
    """Median (smallest–largest), to three digits."""
    numbers = statistics.median(values), min(values), max(values)
    middle, low, high = (f"{v:,.3g}" if v < 1000 else f"{v:,.0f}" for v in numbers)
    return f"{middle} ({low}–{high})"
