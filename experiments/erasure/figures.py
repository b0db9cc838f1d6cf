"""The sizes of learned sets beside those of the optima, by the length of the sentence."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffmask_jax.render.picture import QUIET, save
from experiments.common.figures import BLUE, INK, ORANGE, clear, grid


def sizes_figure(
    path: Path, lengths: np.ndarray, optimum: np.ndarray, learned: dict[str, np.ndarray]
) -> None:
    """Mean sizes by length on the left; then, for each method, its sizes against the optimum's.

    lengths, optimum: one number per sentence
    learned: likewise, by method
    """
    figure = Figure(figsize=(4.2 * (1 + len(learned)), 4.0), layout="constrained")
    figure.suptitle("Kept word pieces, learned and searched", fontsize=12, fontweight="bold")
    figure.supxlabel(
        "dots: area is the number of sentences; below the line lie sets that are not feasible",
        fontsize=8,
        color=QUIET,
    )
    first, *others = figure.subplots(1, 1 + len(learned))
    colors = dict(zip(learned, (BLUE, ORANGE), strict=False))
    _draw_means(first, lengths, {"optimum": optimum, **learned}, {"optimum": INK, **colors})
    largest = int(max(optimum.max(), *(sizes.max() for sizes in learned.values())))
    for axes, (name, sizes) in zip(others, learned.items(), strict=True):
        _draw_against(axes, optimum, sizes, largest, name, colors[name])
    save(figure, path)


def _draw_means(
    axes: Axes, lengths: np.ndarray, sizes: dict[str, np.ndarray], colors: dict[str, str]
) -> None:
    places = np.unique(lengths)
    for name, values in sizes.items():
        means = [values[lengths == length].mean() for length in places]
        style = "--" if name == "optimum" else "-"
        axes.plot(places, means, style, color=colors[name], linewidth=1.6, label=name)
    axes.set_xlabel("word pieces of the sentence", fontsize=9)
    axes.set_ylabel("kept, mean", fontsize=9)
    axes.set_title("by length", fontsize=10, loc="left")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    _clear(axes)


def _draw_against(
    axes: Axes, optimum: np.ndarray, sizes: np.ndarray, largest: int, name: str, color: str
) -> None:
    """A dot per pair of sizes, whose area is the number of sentences, and the line of equality."""
    pairs, counts = np.unique(np.stack([optimum, sizes]), axis=1, return_counts=True)
    axes.plot([0, largest], [0, largest], color=QUIET, linewidth=1, zorder=1)
    axes.scatter(pairs[0], pairs[1], s=4 * counts, color=color, alpha=0.75, linewidths=0, zorder=2)
    equal = np.mean(optimum == sizes)
    axes.set_title(f"{name}\n{equal:.0%} as small as the optimum", fontsize=9, loc="left")
    axes.set_xlabel("kept by the optimum", fontsize=9)
    axes.set_ylabel("kept by the learned set", fontsize=9)
    axes.set_aspect("equal")
    axes.set_xlim(-0.7, largest + 0.7)
    axes.set_ylim(-0.7, largest + 0.7)
    _clear(axes)


def _clear(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    grid(axes)
    clear(axes)
