"""What the trials say: a table of recipes, the nearest to the reference first, and its claims."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.runtime.markdown import table
from experiments.common.report import Claim, claim
from experiments.convergence import distance
from experiments.convergence.trial import Mark

BEST = "recipe"
CLOSER = 0.5


class Trial(NamedTuple):
    """One seed of a recipe: its marks, and at each the distance to the reference."""

    marks: list[Mark]
    distances: list[float]


def trial_of(marks: Sequence[Mark], folder: Path, truth: np.ndarray | None) -> Trial:
    """The marks of a folder; distances are NaN where there is nothing to compare with."""
    if truth is None:
        return Trial(list(marks), [np.nan] * len(marks))
    kept = (np.load(folder / f"keep-{mark.examples}.npy") for mark in marks)
    return Trial(list(marks), [distance.mean(keep, truth) for keep in kept])


def recipes_table(trials: Mapping[str, Sequence[Trial]], margin: float) -> str:
    """One row a recipe: means over its seeds at the end, ± their standard deviation."""
    head = (
        "recipe",
        "seeds",
        "examples",
        "distance to the reference",
        "masked",
        "KL / margin",
        "its range over layers",
        "agreement",
        "λ, range",
        "seconds",
    )
    return table(head, (_row(name, trials[name], margin) for name in sorted_by_distance(trials)))


def sorted_by_distance(trials: Mapping[str, Sequence[Trial]]) -> list[str]:
    """The recipes, the nearest to the reference at the end first."""
    return sorted(trials, key=lambda name: float(np.mean(_last_distances(trials[name]))))


def _last_distances(seeds: Sequence[Trial]) -> list[float]:
    return [trial.distances[-1] for trial in seeds]


def _row(name: str, seeds: Sequence[Trial], margin: float) -> list[str]:
    ends = [trial.marks[-1] for trial in seeds]
    divergence = np.mean([end.divergence for end in ends], axis=0) / margin
    multiplier = np.mean([end.multiplier for end in ends], axis=0)
    return [
        name,
        str(len(seeds)),
        f"{min(end.examples for end in ends):,}",
        _spread([trial.distances[-1] for trial in seeds], "{:.3f}"),
        _spread([float(np.mean(end.masked)) for end in ends], "{:.1%}"),
        f"{divergence.mean():.2f}",
        f"{divergence.min():.2f}–{divergence.max():.2f}",
        _spread([end.agreement for end in ends], "{:.1%}"),
        f"{multiplier.min():.2g}–{multiplier.max():.2g}",
        f"{np.mean([end.seconds for end in ends]):.0f}",
    ]


def _spread(values: Sequence[float], form: str) -> str:
    mean = form.format(np.mean(values))
    return f"{mean} ± {form.format(np.std(values, ddof=1))}" if len(values) > 1 else mean


def layers_table(layers: Sequence[str], mark: Mark, margin: float) -> str:
    """One row a layer of a probe at one mark."""
    rows = zip(layers, mark.masked, mark.divergence, mark.multiplier, strict=True)
    return table(
        ("layer", "masked", "KL / margin", "λ"),
        ([name, f"{m:.1%}", f"{d / margin:.2f}", f"{x:.2g}"] for name, m, d, x in rows),
    )


def claims(gate: str, trials: Mapping[str, Sequence[Trial]], before: str) -> list[Claim]:
    """How much nearer to the reference a recipe comes than what was played before."""
    if not {BEST, before} <= trials.keys():
        return []
    if len({trial.marks[-1].examples for name in (BEST, before) for trial in trials[name]}) > 1:
        return []  # one of them is still being played
    now, then = (_last_distances(trials[name]) for name in (BEST, before))
    ratio = float(np.mean(now) / np.mean(then))
    one = claim(
        f"convergence.{gate}.distance",
        f"distance to the reference over that of “{before}”, from as many examples, at most "
        f"{CLOSER}",
        [ratio],
        paper=None,
        unit="",
        holds=ratio <= CLOSER,
    )
    return [one._replace(runs=len(now))]


def as_raw(trials: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """Every number of every mark."""
    return {
        name: [
            [
                mark._asdict() | {"distance": far}
                for mark, far in zip(trial.marks, trial.distances, strict=True)
            ]
            for trial in seeds
        ]
        for name, seeds in trials.items()
    }
