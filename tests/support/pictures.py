"""Both kinds of pictures, drawn of any tokens, and pictures read back as dots."""

import matplotlib.image
import numpy as np
import pytest

from diffmask_jax.render import comparison_picture, heatmap_picture
from diffmask_jax.render.colors import color
from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.heatmap import make_heatmap

ROWS = ("W", "E", "1")


def draw_heatmap(path, tokens=("a", "film"), rows=ROWS, title="T", value=0.5, **more):
    values = np.full((len(rows), len(tokens)), value)
    heatmap = make_heatmap(
        title=title, caption="c", tokens=tokens, rows=rows, values=values, **more
    )
    heatmap_picture.write_picture(heatmap, path)


def draw_comparison(path, tokens=("a", "film"), rows=ROWS, title="T", value=0.5, **more):
    panel = Panel(title, "n", tuple(rows), np.full((len(rows), len(tokens)), value))
    comparison = make_comparison(
        title=title, caption="c", tokens=tokens, panels=[panel] * 4, **more
    )
    comparison_picture.write_picture(comparison, path)


DRAWN = pytest.mark.parametrize("draw", [draw_heatmap, draw_comparison])


def pixels(path):
    """(height, width, 3) dots, 0 to 255, of a path or an open file."""
    return np.round(255 * matplotlib.image.imread(path)[..., :3]).astype(int)


def found(image, value, axis, wide=30):
    """Rows (axis 0) or columns (axis 1) with so many dots of the colour of a keep probability."""
    same = np.abs(image - np.array(color(value))).max(-1) <= 1
    return np.flatnonzero(same.sum(1 - axis) >= wide)
