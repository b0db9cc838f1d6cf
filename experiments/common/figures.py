"""The common parts of the experiments' figures: colours, grids, axes and legends."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffmask_jax.render.picture import CURVES, GRID

BLUE, ORANGE, GREEN, _, _, SLATE = CURVES
PALE_BLUE, INK = "#dfe2f2", "#17181c"


def grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Draw thin lines behind the data."""
    axes.grid(axis=axis, color=GRID, linewidth=0.8)


def clear(axes: Axes, labels: int = 9) -> None:
    """Remove the frame and the ticks, and put the grid behind the data. labels: in points."""
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=labels, which="both")
    axes.spines[:].set_visible(False)


def legend_below(figure: Figure, columns: int) -> None:
    """Draw one legend for all panels, from the lines of the first."""
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
