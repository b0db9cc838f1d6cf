"""The report on trials: a table of recipes, the nearest to the reference first, and claims."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.runtime.json_files import finite
from diffmask_jax.runtime.markdown import table
from experiments.common.report import LAST_CALL, Claim, claim, with_spread
from experiments.convergence import distance
from experiments.convergence.trial import EVERY, Mark

BEST = "recipe"
CLOSER = 0.5
FURTHER = 1.2
AS_MANY = 0.95  # batches of other sizes end at slightly fewer or more examples

MEANINGS = (
    "Distances are over the tokens of all development texts; masked shares, KL and agreement, with "
    f"sampled gates, over one in {EVERY} batches of them. {LAST_CALL} Seconds of a recipe are of "
    "training alone."
)
"""What the numbers of the report mean."""


class Trial(NamedTuple):
    """One seed of a recipe: its marks, and at each its distance to the reference and its mean
    distance to the recipe's other seeds; NaN if there is nothing to compare with."""

    marks: list[Mark]
    distances: list[float]
    apart: list[float]

    @property
    def far(self) -> list[float]:
        """The distances that rank it: to the reference or, if there is none, to other seeds."""
        return self.apart if np.isnan(self.distances).any() else self.distances


class End(NamedTuple):
    """A probe at the last mark that its trial has reached: what it keeps, (L, N)."""

    examples: int
    keep: np.ndarray


def trials_of(folders: Mapping[Path, list[Mark]], truth: np.ndarray | None) -> list[Trial]:
    """The seeds of a recipe, from the folders of their marks."""
    kept = [
        {mark.examples: np.load(folder / f"keep-{mark.examples}.npy") for mark in marks}
        for folder, marks in folders.items()
    ]

    def apart(own: Mapping[int, np.ndarray], examples: int) -> float:
        others = [other[examples] for other in kept if other is not own and examples in other]
        return _mean([distance.mean(own[examples], other) for other in others])

    return [
        Trial(
            marks,
            [np.nan if truth is None else distance.mean(keep, truth) for keep in own.values()],
            [apart(own, examples) for examples in own],
        )
        for marks, own in zip(folders.values(), kept, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else np.nan


def recipes_table(trials: Mapping[str, Sequence[Trial]], margin: float) -> str:
    """One row per recipe: means over its seeds at the last mark that all of them have reached, ±
    their standard deviation.

    Without a reference there is no distance to it.
    """
    ends = {name: level(seeds) for name, seeds in trials.items()}
    rows = [_row(name, ends[name], margin) for name in sorted_by_distance(ends)]
    return table(tuple(rows[0]), [tuple(row.values()) for row in rows])


def sorted_by_distance(trials: Mapping[str, Sequence[Trial]]) -> list[str]:
    """The recipes, the nearest at the end first (`Trial.far`), but behind them those that have not
    seen as many examples: they are still being played."""
    seen = {name: min(of.marks[-1].examples for of in seeds) for name, seeds in trials.items()}

    def place(name: str) -> tuple[bool, float]:
        is_behind = not _as_many([seen[name], max(seen.values())])
        return is_behind, _mean([trial.far[-1] for trial in trials[name]])

    return sorted(trials, key=place)


def level(seeds: Sequence[Trial]) -> list[Trial]:
    """The seeds of a recipe up to the last number of examples at which each has a mark."""
    common = set.intersection(*({mark.examples for mark in seed.marks} for seed in seeds))
    last = max(common, default=0)

    def until(seed: Trial) -> Trial:
        count = sum(mark.examples <= last for mark in seed.marks)
        return Trial(seed.marks[:count], seed.distances[:count], seed.apart[:count])

    return [until(seed) for seed in seeds] if common else list(seeds)


def _last_distances(seeds: Sequence[Trial]) -> list[float]:
    return [trial.distances[-1] for trial in seeds]


def _row(name: str, seeds: Sequence[Trial], margin: float) -> dict[str, str]:
    ends = [trial.marks[-1] for trial in seeds]
    divergence = np.mean([end.divergence for end in ends], axis=0) / margin
    multiplier = np.mean([end.multiplier for end in ends], axis=0)
    distances = _last_distances(seeds)
    far = {"distance to the reference": with_spread(distances, "{:.3f}")}
    apart = _mean([trial.apart[-1] for trial in seeds])
    return {
        "recipe": name,
        "seeds": str(len(seeds)),
        "examples": f"{min(end.examples for end in ends):,}",
        **(far if np.isfinite(distances).all() else {}),
        "between seeds": f"{apart:.3f}" if np.isfinite(apart) else "–",
        "masked": with_spread([float(np.mean(end.masked)) for end in ends], "{:.1%}"),
        "KL / margin": f"{divergence.mean():.2f}",
        "its range over layers": f"{divergence.min():.2f}–{divergence.max():.2f}",
        "agreement": with_spread([end.agreement for end in ends], "{:.1%}"),
        "λ, range": f"{multiplier.min():.2g}–{multiplier.max():.2g}",
        "seconds": f"{np.mean([end.seconds for end in ends]):.0f}",
    }


def layers_table(layers: Sequence[str], mark: Mark, margin: float) -> str:
    """One row per layer of a probe at one mark."""
    rows = zip(layers, mark.masked, mark.divergence, mark.multiplier, strict=True)
    return table(
        ("layer", "masked", "KL / margin", "λ"),
        ([name, f"{m:.1%}", f"{d / margin:.2f}", f"{x:.2g}"] for name, m, d, x in rows),
    )


def claims(gate: str, trials: Mapping[str, Sequence[Trial]], before: str) -> list[Claim]:
    """How much nearer to the reference a recipe comes than the former way of playing."""
    if not {BEST, before} <= trials.keys():
        return []
    seen = [trial.marks[-1].examples for name in (BEST, before) for trial in trials[name]]
    if not _as_many(seen):
        return []  # one of them is still being played
    now, then = (_last_distances(trials[name]) for name in (BEST, before))
    if not np.isfinite([*now, *then]).all():
        return []  # there is no reference
    ratio = float(np.mean(now) / np.mean(then))
    return [
        claim(
            f"convergence.{gate}.distance",
            f"distance to the reference over that of “{before}”, from as many examples, at most "
            f"{CLOSER}",
            [ratio],
            paper=None,
            unit="",
            holds=ratio <= CLOSER,
            runs=len(now),
        )
    ]


def apart_claims(
    gate: str, seeds: Sequence[End], references: Sequence[End], lengths: Sequence[int]
) -> list[Claim]:
    """Whether two seeds of the recipe are about as far from each other as two references are.

    lengths: as in `distance.ratio`
    """
    groups = seeds, references
    if not all(_as_many([end.examples for end in ends]) for ends in groups):
        return []
    near, far = ([end.keep for end in ends] for ends in groups)
    found = distance.ratio(near, far, lengths)
    return [
        claim(
            f"convergence.{gate}.apart",
            f"distance between two seeds over that between two references, at most {FURTHER}; 95% "
            f"of resampled texts, for these very probes: {found.low:.2f} to {found.high:.2f}",
            [float(found.mean)],
            paper=None,
            unit="",
            holds=bool(found.mean <= FURTHER),
            runs=len(seeds),
        )
    ]


def apart(groups: Mapping[str, Sequence[End]]) -> dict[str, dict[str, Any]]:
    """The mean distance between two probes of each group of several, by layer."""
    return {
        name: {
            "examples": min(end.examples for end in ends),
            "by_layer": distance.between([end.keep for end in ends]).tolist(),
        }
        for name, ends in groups.items()
        if len(ends) > 1
    }


def apart_table(layers: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per group of `apart`."""
    rows = [
        (name, f"{one['examples']:,}", f"{np.mean(far):.3f}", *(f"{x:.3f}" for x in far))
        for name, one in found.items()
        for far in [one["by_layer"]]
    ]
    return table(("two", "examples", "mean", *layers), rows)


def _as_many(seen: Sequence[int]) -> bool:
    """Whether there are several, which have seen about as many examples."""
    return len(seen) > 1 and min(seen) >= AS_MANY * max(seen)


def as_raw(trials: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """Every number of every mark; None where there is no distance."""
    return {
        name: [
            [
                mark._asdict() | {"distance": finite(far), "between_seeds": finite(apart)}
                for mark, far, apart in zip(trial.marks, trial.distances, trial.apart, strict=True)
            ]
            for trial in seeds
        ]
        for name, seeds in trials.items()
    }
