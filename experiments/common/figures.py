"""What the experiments' figures have in common."""

from matplotlib.axes import Axes


def clear(axes: Axes, labels: int = 9) -> None:
    """No frame, no ticks, and the grid behind the data; labels: their size, in points."""
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=labels, which="both")
    axes.spines[:].set_visible(False)
