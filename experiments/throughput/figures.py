"""The growth of examples per second: a panel per quantity, a line per contender."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from diffmask_jax.render.picture import save
from experiments.common.figures import BLUE, ORANGE, clear, grid, legend_below

Curve = tuple[list[int], dict[str, list[float]]]
"""The values of a quantity, and the examples per second at each, by contender."""


def growth_figure(path: Path, curves: dict[str, Curve]) -> None:
    """Draw curves on logarithmic axes, where work proportional to a quantity is a straight line."""
    figure = Figure(figsize=(3.1 * len(curves), 3.5), layout="constrained")
    figure.suptitle("Examples per second, training the input probe", fontsize=12, fontweight="bold")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, curve) in zip(panels, curves.items(), strict=True):
        _draw(axes, name, *curve)
    legend_below(figure, 2)
    save(figure, path)


def _draw(axes: Axes, name: str, at: list[int], speeds: dict[str, list[float]]) -> None:
    for color, (contender, values) in zip((BLUE, ORANGE), speeds.items(), strict=False):
        axes.plot(at, values, "o-", color=color, linewidth=1.5, markersize=4, label=contender)
    axes.set_title(name, fontsize=10, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(at))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    highest = max(max(values) for values in speeds.values())
    lowest = min(min(values) for values in speeds.values())
    axes.set_ylim(lowest / 1.6, highest * 1.6)
    grid(axes)
    clear(axes)
