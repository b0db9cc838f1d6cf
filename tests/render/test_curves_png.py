"""Curves as a picture: every line is there, in its colour, below its title."""

import io

import numpy as np
import pytest
from pictures import pixels

from diffmask_jax.render import curves_png
from diffmask_jax.render.curves_png import Line, Quantity, picture


def quantity(lines: int, **look) -> Quantity:
    steps = np.arange(1, 5)
    values = {str(n): Line(steps, np.full(4, (n + 1) / (lines + 1))) for n in range(lines)}
    return Quantity("masked share", values, percent=True, **look)


@pytest.mark.parametrize("lines", [2, 14])
def test_every_line_is_drawn_in_a_colour_of_its_own(lines):
    image = pixels(io.BytesIO(picture("a run", [quantity(lines)] * 2)))
    colors = curves_png._colors(lines)
    assert len(set(colors)) == lines
    for wanted in colors:
        rgb = [int(wanted[at : at + 2], 16) for at in (1, 3, 5)] if lines <= 6 else None
        target = np.array(rgb or [round(255 * part) for part in wanted])
        rows = np.flatnonzero((np.abs(image - target).max(-1) <= 2).sum(1) > 300)
        assert len(rows) > 0


@pytest.mark.parametrize("level", [0.1, 2.0])
def test_a_level_is_drawn_below_and_above_the_lines_and_a_gap_where_there_is_no_number(level):
    gap = Line(np.arange(4), np.array([0.5, np.nan, np.nan, 0.5]))
    plain = Quantity("D (nats)", {"W": gap})
    with_level, without = [plain._replace(level=("margin", level))], [plain]
    image, other = (
        pixels(io.BytesIO(picture("$\\frac{a run", panels))) for panels in (with_level, without)
    )
    assert image.shape == other.shape
    black, usual = ((drawn.max(-1) < 40).sum(1).max() for drawn in (image, other))
    assert black > 2 * usual  # a dashed line across the picture
