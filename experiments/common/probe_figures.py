"""Figures 4 and 5: how long tokens are kept; and the curves of training, run by run."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from diffmask_jax.analysis.token_groups import Group
from diffmask_jax.render.curves_png import Line, Quantity, picture
from diffmask_jax.render.picture import QUIET, save
from diffmask_jax.runtime.files import write_atomically
from experiments.common.figures import BLUE, PALE_BLUE, clear, grid


def token_groups_figure(
    path: Path, title: str, axis_label: str, panels: dict[str, list[Group]], layers: int
) -> None:
    """Mean number of layers that keep a token, by group: a panel per probe, a row per group.

    The marks are explained below; the number of tokens is at the right of each row.
    """
    rows = max(map(len, panels.values()))
    size = (4.6 * len(panels), 0.3 * rows + 1.7)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.06))
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(
        "dot and whiskers: mean ± standard error; band: ± standard deviation of the tokens",
        fontsize=8,
        color=QUIET,
    )
    for axes, (name, groups) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _draw_groups(axes, groups, layers)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel(axis_label, fontsize=9)
    save(figure, path)


def training_figure(
    path: Path,
    title: str,
    curves: dict[str, list[dict[str, float]]],
    margin: float | None = None,
) -> None:
    """Masked share, divergence and agreement over the steps of several runs.

    curves: by run, in order of step, dictionaries with step, masked, divergence and agreement
    margin: the divergence allowed, drawn as a dashed line
    """

    def quantity(key: str, name: str, **look: Any) -> Quantity:
        columns = {
            run: Line(*(np.array([point[k] for point in points]) for k in ("step", key)))
            for run, points in curves.items()
        }
        return Quantity(name, columns, **look)

    quantities = [
        quantity("masked", "masked share", percent=True),
        quantity("divergence", "D (nats)", level=None if margin is None else ("margin", margin)),
        quantity("agreement", "agreement", percent=True),
    ]
    write_atomically(path, picture(title, quantities))


def _draw_groups(axes: Axes, groups: list[Group], layers: int) -> None:
    mean = np.array([group.mean for group in groups])
    deviation = np.array([group.deviation for group in groups])
    error = np.nan_to_num([group.standard_error for group in groups])
    low, high = np.clip([mean - deviation, mean + deviation], 0, layers)
    rows = range(len(groups))
    axes.barh(rows, high - low, left=low, height=0.62, color=PALE_BLUE)
    axes.errorbar(
        mean, rows, xerr=error, fmt="o", color=BLUE, markersize=4, elinewidth=1.4, capsize=4
    )
    axes.set_yticks(rows, [group.name for group in groups], fontsize=9)
    for row, group in zip(rows, groups, strict=True):
        axes.annotate(
            f"{group.tokens:,}",
            (1, row),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=QUIET,
        )
    axes.annotate(
        "tokens",
        (1, 1),
        (4, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8,
        color=QUIET,
    )
    axes.set_xlim(0, layers)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    grid(axes, "x")
    clear(axes)
