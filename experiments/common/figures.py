"""What the experiments' figures have in common."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def clear(axes: Axes, labels: int = 9) -> None:
    """No frame, no ticks, and the grid behind the data; labels: their size, in points."""
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=labels, which="both")
    axes.spines[:].set_visible(False)


def legend_below(figure: Figure, columns: int) -> None:
    """What the lines of the first panel are called, once for all panels."""
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
