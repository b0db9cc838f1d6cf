"""The growth of speed and memory: a column per quantity, a line per contender."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from diffmask_jax.render.picture import save
from experiments.common.figures import BLUE, ORANGE, clear, grid, legend_below


class Curve(NamedTuple):
    """The values of a quantity; at each, the examples per second by contender, and our MiB."""

    at: list[int]
    speeds: dict[str, list[float]]
    mib: list[float]


def growth_figure(path: Path, curves: dict[str, Curve]) -> None:
    """Draw speeds above and memory below, on logarithmic axes: proportional growth is a line."""
    figure = Figure(figsize=(3.1 * len(curves), 5.6), layout="constrained")
    figure.suptitle("Training the input probe", fontsize=12, fontweight="bold")
    above, below = figure.subplots(2, len(curves), squeeze=False)
    for speeds, memory, (name, curve) in zip(above, below, curves.items(), strict=True):
        _draw(speeds, name, curve.at, curve.speeds)
        _draw(memory, "", curve.at, {"ours": curve.mib})
    above[0].set_ylabel("examples per second")
    below[0].set_ylabel("working memory of a program, MiB")
    legend_below(figure, 2)
    save(figure, path)


def _draw(axes: Axes, title: str, at: list[int], lines: dict[str, list[float]]) -> None:
    for color, (label, values) in zip((BLUE, ORANGE), lines.items(), strict=False):
        axes.plot(at, values, "o-", color=color, linewidth=1.5, markersize=4, label=label)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(at))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    highest = max(max(values) for values in lines.values())
    lowest = min(min(values) for values in lines.values())
    axes.set_ylim(lowest / 1.6, highest * 1.6)
    grid(axes)
    clear(axes)
