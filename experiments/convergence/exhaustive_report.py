"""What was found of all sets: probes in pairs, layers in a table and a picture."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from diffmask_jax.analysis.bootstrap import Interval, mean_interval
from diffmask_jax.render.picture import save
from diffmask_jax.runtime.markdown import table
from experiments.common.figures import BLUE, GREEN, ORANGE, clear, legend_below

REFERENCE, SECOND = "reference", "second reference"

PerText = Float[np.ndarray, "L N"]


class Played(NamedTuple):
    """A probe on all development sentences, by its thresholded gates.

    kept: the states it keeps, for every sentence, (L, T)
    divergence: nats
    """

    kept: list[Bool[np.ndarray, "L T"]]
    divergence: PerText

    def loss(self, multipliers: Float[np.ndarray, " L"]) -> PerText:
        """The share that it keeps, and λ times what that costs."""
        share = np.array([kept.mean(axis=1) for kept in self.kept]).T
        return share + multipliers[:, None] * self.divergence


class Pair(NamedTuple):
    """Two probes: the share of states in which they differ, and by how much the first one's loss
    is larger, means over the layers; intervals over resampled sentences."""

    names: tuple[str, str]
    differ: Interval
    worse: Interval


def pairs_of(played: Mapping[str, Played], multipliers: Float[np.ndarray, " L"]) -> list[Pair]:
    """Every two probes, in their order."""
    found = []
    for one, other in itertools.combinations(played, 2):
        a, b = played[one], played[other]
        worse = (a.loss(multipliers) - b.loss(multipliers)).mean(axis=0)
        found.append(Pair((one, other), mean_interval(differ(a, b).mean(0)), mean_interval(worse)))
    return found


def differ(one: Played, other: Played) -> PerText:
    """The share of a sentence's states that only one of two probes keeps."""
    return np.array([(a != b).mean(axis=1) for a, b in zip(one.kept, other.kept, strict=True)]).T


def seeds_apart(played: Mapping[str, Played], short: Sequence[int]) -> PerText:
    """The mean of `differ` over every two seeds, on some sentences; NaN if there is one seed."""
    seeds = [probe for name, probe in played.items() if name not in (REFERENCE, SECOND)]
    apart = [differ(one, other)[:, short] for one, other in itertools.combinations(seeds, 2)]
    layers = len(next(iter(played.values())).divergence)
    return np.mean(apart, axis=0) if apart else np.full((layers, len(short)), np.nan)


def pairs_table(pairs: Sequence[Pair]) -> str:
    """One row per pair of probes."""
    rows = [
        (" and ".join(pair.names), _shown(pair.differ, ".1%"), _shown(pair.worse, "+.4f"))
        for pair in pairs
    ]
    return table(("probes", "states in which they differ", "loss"), rows)


def layers_table(
    layers: Sequence[str],
    multipliers: Float[np.ndarray, " L"],
    columns: Mapping[str, PerText],
    seeds: PerText,
) -> str:
    """One row per layer, and their means; the number of sets is a median.

    columns: the fields of `landscape.Place`, (L, N) each
    seeds: `seeds_apart` of the same sentences
    """
    heads = (
        "layer",
        "λ",
        "best: kept",
        "KL (nats)",
        "reference: kept",
        "KL (nats)",
        "loss above the best",
        "differs from it in",
        "sets as good (median)",
        "two of them differ in",
        "two seeds",
    )

    def row(name: str, multiplier: str, some: Any) -> tuple[str, ...]:
        mean = {field: values[some].mean() for field, values in columns.items()}
        return (
            name,
            multiplier,
            f"{mean['best_kept']:.1%}",
            f"{mean['best_divergence']:.3f}",
            f"{mean['kept']:.1%}",
            f"{mean['divergence']:.3f}",
            f"{mean['loss'] - mean['best_loss']:.3f}",
            f"{mean['away']:.1%}",
            f"{np.median(columns['as_good'][some]):g}",
            f"{mean['apart']:.1%}",
            f"{seeds[some].mean():.1%}" if np.isfinite(seeds).all() else "–",
        )

    rows = [row(name, f"{multipliers[n]:.2g}", n) for n, name in enumerate(layers)]
    return table(heads, [*rows, row("all", "", slice(None))])


def figure(
    path: Path, layers: Sequence[str], columns: Mapping[str, PerText], seeds: PerText
) -> None:
    """By layer: how far apart sets as good are, how far two seeds, and how far the best set is."""
    drawn = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = drawn.subplots()
    lines = {
        "two sets as good as the reference's": (columns["apart"], BLUE),
        "two seeds": (seeds, ORANGE),
        "the reference's and the best": (columns["away"], GREEN),
    }
    for label, (values, color) in lines.items():
        if not np.isfinite(values).all():
            continue  # there is one seed
        found = mean_interval(values.T)
        axes.plot(layers, 100 * found.mean, color=color, label=label)
        axes.fill_between(layers, 100 * found.low, 100 * found.high, color=color, alpha=0.15)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("differ in, % of the states", fontsize=9)
    axes.set_xlabel("layer", fontsize=9)
    clear(axes)
    legend_below(drawn, columns=3)
    save(drawn, path)


def _shown(interval: Interval, form: str) -> str:
    mean, low, high = (format(float(part), form) for part in interval)
    return f"{mean} ({low} to {high})"
