"""A heat map as a picture for papers and slides: layers upwards, tokens along the bottom.

Two texts are set apart, each below its name; long texts are broken into lines. The tokens of a
predicted answer are bold, those of a gold one underlined.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffmask_jax.render import latex
from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.pair import is_pair
from diffmask_jax.render.picture import (
    color_map,
    draw_cells,
    draw_marks,
    headline,
    plain_text,
    write,
)
from diffmask_jax.render.stretches import broken, end, middles, name_columns
from diffmask_jax.render.text import display_width, shorten
from diffmask_jax.runtime.messages import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# All lengths are inches.
_CELL = 0.3
_LOWEST = 1.1  # the cells of one or two layers are stretched, since the colour bar needs height
_LEFT, _RIGHT = 0.75, 1.0  # beside the cells: layer labels, at least; colour bar
_LABEL, _LETTER = 0.45, 0.09  # of the layer labels: without their letters, and each of these
_NARROWEST = 5.0  # room for the title and caption of a text of few tokens
_LINE = 0.24
_BETWEEN = 0.7  # of a cell, between two texts
_NAME = 0.2  # above the cells, the names of two texts
_LONGEST_LINE = 60  # tokens
_LONGEST_TOKEN = 18  # characters; a slanted longer one would leave the figure at its left


def write_picture(heatmap: Heatmap, path: str | os.PathLike[str]) -> None:
    """Write the token x layer heat map, with the input layer at the bottom, or its text for LaTeX.

    The ending of `path` is the format: .png, .svg, .pdf or .tex. The figure grows with the number
    of tokens and layers; a PNG has at most 16 000 dots per side, so that the resolution drops for
    texts of more than about a thousand tokens.

    Raises:
      UserError: `path` has another ending or cannot be written, or matplotlib is not installed.
    """
    write(path, lambda: _draw(heatmap), lambda: latex.of_heatmap(heatmap))


def _draw(heatmap: Heatmap) -> "Figure":
    # Made without pyplot, which would keep the figure in its global list.
    from matplotlib.figure import Figure

    tokens = [shorten(visible(token), _LONGEST_TOKEN) for token in heatmap.tokens]
    lines = broken(heatmap.parts, heatmap.names, between=_BETWEEN, longest=_LONGEST_LINE)
    cells_wide = _CELL * max(map(end, lines))
    cells_high = max(_LOWEST, _CELL * len(heatmap.rows))
    left = max(_LEFT, _LABEL + _LETTER * max(display_width(visible(row)) for row in heatmap.rows))
    width = max(_NARROWEST, left + cells_wide + _RIGHT)
    head = headline(heatmap.title, heatmap.caption, width - left)
    names = _NAME * is_pair(heatmap.parts)
    above, below = _LINE * (len(head) + 0.8), 0.2 + 0.07 * max(map(display_width, tokens))
    line = names + cells_high + below
    height = above + len(lines) * line

    figure = Figure(figsize=(width, height), facecolor="white")
    heights, share = np.arange(len(heatmap.rows) + 1), cells_high / height
    labels: list[Text] = []
    for number, placed in enumerate(lines):
        bottom = 1 - (above + number * line + names + cells_high) / height
        cells = figure.add_axes((left / width, bottom, _CELL * end(placed) / width, share))
        for text in placed:
            draw_cells(cells, text.borders, heights, heatmap.values[:, text.own], 1.0)
        name_columns(cells, placed, 0.05 / cells_high)
        cells.set_xticks(middles(placed))
        shown = [tokens[at] for text in placed for at in text.tokens]
        labels += _label(cells, shown, [visible(row) for row in heatmap.rows])
        if number == 0:
            bar = ((left + cells_wide + 0.2) / width, bottom, 0.12 / width, share)
            _draw_bar(figure, bar)
    draw_marks(figure, labels, heatmap.marks)
    for number, (words, look) in enumerate(head):
        y = 1 - _LINE * (number + 0.9) / height
        figure.text(left / width, y, words, **look, **plain_text())
    return figure


def _draw_bar(figure: "Figure", place: tuple[float, float, float, float]) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.add_axes(place)
    figure.colorbar(ScalarMappable(cmap=color_map()), cax=bar, ticks=[0, 0.5, 1])
    bar.set_ylabel("keep probability", fontsize=9)
    bar.tick_params(length=0, labelsize=9)
    for frame in bar.spines.values():
        frame.set_visible(False)


def _label(cells: "Axes", tokens: Sequence[str], rows: Sequence[str]) -> list["Text"]:
    """Label the axes; returns the labels of the tokens."""
    cells.set_yticks([row + 0.5 for row in range(len(rows))])
    labels: list[Text] = cells.set_xticklabels(tokens, size=10, **plain_text())
    for label, token in zip(labels, tokens, strict=True):
        if display_width(token) > 2:  # a slanted comma would be hard to recognise
            label.set(rotation=55, ha="right", va="top", rotation_mode="anchor")
    cells.set_yticklabels(rows, size=10, **plain_text())
    cells.set_ylabel("layer", fontsize=9)
    cells.tick_params(length=0)
    cells.spines[:].set_visible(False)
    return labels
