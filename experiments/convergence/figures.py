"""How recipes approach the reference, and the curves of every layer on the way."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    LogLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from diffmask_jax.render.picture import QUIET, save
from experiments.common.figures import BLUE, ORANGE, clear, grid, legend_below
from experiments.convergence.report import BEST, Trial, sorted_by_distance
from experiments.convergence.trial import Mark

COLUMNS = 5  # of panels, at most
FEW, MANY = (1.0, 2.0, 5.0), (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)
NARROW = 3.0  # a logarithmic axis from a to at most 3a has MANY ticks


def recipes_figure(
    path: Path, title: str, trials: Mapping[str, Sequence[Trial]], apart: float | None
) -> None:
    """Distances (`Trial.far`) against examples seen: a panel per recipe, a line per seed.

    The nearest recipe comes first; every panel also shows "the recipe".

    apart: the distance between two references, if there are two
    """
    names = [name for name in sorted_by_distance(trials) if name != BEST]
    columns = max(1, min(COLUMNS, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    size = max(6.0, 2.5 * columns), 2.1 * rows + 0.9  # the title needs six inches
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    told = "examples seen; blue: the recipe, orange: what the panel names"
    told += "; dashed: between two references" * (apart is not None)
    figure.supxlabel(told, fontsize=9, color=QUIET)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, name in zip(panels.flat, names, strict=False):
        for color, seeds in ((BLUE, trials.get(BEST, ())), (ORANGE, trials[name])):
            for trial in seeds:
                seen = [mark.examples for mark in trial.marks]
                axes.plot(seen, trial.far, _point(seen), color=color, linewidth=1.2)
        if apart is not None:
            axes.axhline(apart, color="black", linewidth=1, linestyle=(0, (4, 3)))
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xscale("log")
        _clear(axes)
    panels[0, 0].set_ylim(bottom=0)  # of all, once all are drawn
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(0, len(names) - columns) : len(names)]:
        axes.tick_params(labelbottom=True)  # also above a place that is empty
    save(figure, path)


def courses_figure(path: Path, title: str, trials: Mapping[str, Trial], margin: float) -> None:
    """Distance, masked share, KL, agreement and λ of a few trials, averaged over the layers."""
    parts: dict[str, Callable[[Mark], float]] = {
        "masked share": lambda mark: float(np.mean(mark.masked)),
        "KL / margin": lambda mark: float(np.mean(mark.divergence)) / margin,
        "agreement": lambda mark: mark.agreement,
        "λ, mean": lambda mark: float(np.mean(mark.multiplier)),
    }
    figure = Figure(figsize=(15, 6.2), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    colors = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for row, (label, of) in zip(
        figure.subplots(2, 5, sharey="col"),
        (
            ("examples seen", lambda mark: mark.examples),
            ("seconds of one core", lambda mark: mark.seconds),
        ),
        strict=True,
    ):
        for axes, part in zip(row, ["distance", *parts], strict=True):
            for color, (name, trial) in zip(colors, trials.items(), strict=False):
                places = [of(mark) for mark in trial.marks]
                values = [parts[part](mark) for mark in trial.marks] if part in parts else trial.far
                axes.plot(places, values, _point(places), color=color, linewidth=1.4, label=name)
            axes.set_title(part, fontsize=10, loc="left")
            axes.set_xlabel(label, fontsize=9)
            axes.set_xscale("log")
            if part in ("masked share", "agreement"):
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            if part.startswith("λ"):
                axes.set_yscale("log")
            _clear(axes)
    legend_below(figure, 6)
    save(figure, path)


def layers_figure(
    path: Path, title: str, layers: Sequence[str], marks: Sequence[Mark], margin: float
) -> None:
    """Masked share, KL against its margin and λ of every layer, against examples seen."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    shades = matplotlib.colormaps["viridis"](np.linspace(0.92, 0.05, len(layers)))
    seen = [mark.examples for mark in marks]
    parts: dict[str, Callable[[Mark], list[float]]] = {
        "masked share": lambda mark: mark.masked,
        "KL / margin": lambda mark: [value / margin for value in mark.divergence],
        "λ": lambda mark: mark.multiplier,
    }
    for axes, (name, of) in zip(figure.subplots(1, 3), parts.items(), strict=True):
        for number, layer in enumerate(layers):
            values = [of(mark)[number] for mark in marks]
            axes.plot(seen, values, _point(seen), color=shades[number], linewidth=1.6, label=layer)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel("examples seen", fontsize=9)
        axes.set_xscale("log")
        axes.set_yscale("log" if name == "λ" else "linear")
        _clear(axes)
    first, second, _ = figure.axes
    first.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    second.axhline(1, color="black", linewidth=1, linestyle=(0, (4, 3)))
    legend_below(figure, len(layers))
    save(figure, path)


def _point(places: Sequence[float]) -> str:
    """How to draw a curve: a single mark makes no line."""
    return "o" if len(places) == 1 else "-"


def _clear(axes: Axes) -> None:
    for axis, formatter in (
        (axes.xaxis, EngFormatter(sep="")),
        (axes.yaxis, StrMethodFormatter("{x:g}")),
    ):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=FEW if high > NARROW * low else MANY))
            axis.set_major_formatter(formatter)
            axis.set_minor_formatter(NullFormatter())
    grid(axes)
    clear(axes, labels=8)
