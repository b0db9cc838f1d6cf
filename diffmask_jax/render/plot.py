"""A heat map on a user's own matplotlib axes, beside their other plots."""

from typing import TYPE_CHECKING

import numpy as np

from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.picture import draw_cells, plain_text
from diffmask_jax.render.stretches import end, middles, name_columns, stretches
from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.messages import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL = 0.3  # inches
_BETWEEN = 0.7  # of a cell, between two texts


def draw_on(heatmap: Heatmap, axes: "Axes | None" = None) -> "Axes":
    """Draw the token x layer heat map, the input layer at the bottom, and return the axes.

    axes: by default those of a new pyplot figure in which every cell has room.

    Raises:
      UserError: matplotlib is not installed.
    """
    placed = stretches(heatmap.parts, heatmap.names, between=_BETWEEN)
    axes = axes or _new(end(placed), len(heatmap.rows))
    heights = np.arange(len(heatmap.rows) + 1)
    for text in placed:
        draw_cells(axes, text.borders, heights, heatmap.values[:, text.own], 1.0)
    name_columns(axes, placed, 0.02)
    axes.set_xticks(
        middles(placed), [visible(token) for token in heatmap.tokens], rotation=90, **plain_text()
    )
    axes.set_yticks(heights[:-1] + 0.5, [visible(row) for row in heatmap.rows], **plain_text())
    axes.set_ylabel("layer")
    title = "\n".join(visible(line) for line in (heatmap.title, heatmap.caption) if line)
    axes.set_title(title, fontsize="medium", **plain_text())
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes


def _new(columns: float, rows: int) -> "Axes":
    with needs("plot", extra="viz"):
        from matplotlib import pyplot
    size = max(4.0, 1 + _CELL * columns), max(2.0, 1.6 + _CELL * rows)
    return pyplot.figure(figsize=size, layout="constrained").add_subplot()
