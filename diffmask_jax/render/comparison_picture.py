"""A comparison of methods as a picture: a grid of panels, tokens downwards and layers across.

Two texts are set apart, each below its name; the tokens of a predicted answer are bold, those of a
gold one underlined.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffmask_jax.render import latex
from diffmask_jax.render.comparison import Comparison, Panel
from diffmask_jax.render.picture import (
    QUIET,
    color_map,
    draw_cells,
    draw_marks,
    headline,
    plain_text,
    write,
)
from diffmask_jax.render.stretches import Stretch, end, middles, name_rows, stretches
from diffmask_jax.render.text import display_width, shorten
from diffmask_jax.runtime.messages import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_COLUMNS = 3
_LONGEST_TOKEN = 18  # characters

# All lengths are inches.
_MARGIN, _GAP = 0.25, 0.3
_LINE = 0.24
_CELL_WIDE, _CELL_HIGH = 0.24, 0.2
_BEFORE, _BETWEEN = 0.9, 1.3  # cells: room for the names of two texts
_NARROWEST = 2.1  # cells of few layers are stretched, since the panel's name needs a line
_NAME, _LAYERS = 0.3, 0.42  # above and below a panel's cells
_BAR, _BAR_WIDE, _BAR_HIGH = 0.7, 2.1, 0.12
_CHARACTER = 0.088  # of a token


def write_picture(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write the panels (a), (b), …, three per line; one colour bar serves them all.

    The ending of `path` is the format: .png, .svg, .pdf, or .tex, where the panels are texts.

    Raises:
      UserError: `path` has another ending or cannot be written, or matplotlib is not installed.
    """
    write(path, lambda: _draw(comparison), lambda: latex.of_comparison(comparison))


def _draw(comparison: Comparison) -> "Figure":
    from matplotlib.figure import Figure

    tokens = [shorten(visible(token), _LONGEST_TOKEN) for token in comparison.tokens]
    count = len(comparison.panels)
    columns, lines = min(_COLUMNS, count), -(-count // _COLUMNS)
    wide = max(_NARROWEST, _CELL_WIDE * len(comparison.rows))
    placed = stretches(comparison.parts, comparison.names, before=_BEFORE, between=_BETWEEN)
    high = _CELL_HIGH * end(placed)
    left = _MARGIN + _CHARACTER * max(map(display_width, tokens))
    width = left + columns * (wide + _GAP) - _GAP + _MARGIN
    head = headline(comparison.title, comparison.caption, width - 2 * _MARGIN)
    above, below = _MARGIN + _LINE * len(head) + _NAME, _LAYERS + _BAR
    height = above + lines * high + (lines - 1) * (_NAME + _LAYERS) + below

    figure = Figure(figsize=(width, height), facecolor="white")
    grid = figure.add_gridspec(
        lines,
        columns,
        left=left / width,
        right=1 - _MARGIN / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=_GAP / wide,
        hspace=(_NAME + _LAYERS) / high,
    )
    labels: list[list[Text]] = []
    for number, panel in enumerate(comparison.panels):
        axes = figure.add_subplot(grid[divmod(number, columns)])
        _draw_panel(axes, comparison, panel, placed, f"({chr(ord('a') + number)})")
        axes.set_yticks(middles(placed))
        written = tokens if number % columns == 0 else [""] * len(tokens)
        labels.append(axes.set_yticklabels(written, size=9, **plain_text()))
        if number + columns >= count:  # there is no panel below it
            axes.set_xlabel("layer", fontsize=8, color=QUIET)
    for number, (line, look) in enumerate(head):
        y = 1 - (_MARGIN + _LINE * number) / height
        figure.text(_MARGIN / width, y, line, va="center", **look, **plain_text())
    right = 1 - (_MARGIN + _BAR_WIDE) / width
    _draw_bar(figure, (right, (_BAR - 0.2) / height, _BAR_WIDE / width, _BAR_HIGH / height))
    for named in labels[::columns]:  # only the first panel of a line has labels
        draw_marks(figure, named, comparison.marks)
    return figure


def _draw_panel(
    axes: "Axes", comparison: Comparison, panel: Panel, placed: Sequence[Stretch], letter: str
) -> None:
    """Layers that the panel lacks stay white."""
    shares = comparison.shares(panel).T
    across = np.arange(len(comparison.rows) + 1)
    for text in placed:
        draw_cells(axes, across, text.borders, shares[text.own], 0.7)
    name_rows(axes, placed, _BEFORE)
    axes.set_ylim(end(placed), 0)
    axes.set_title(f"{letter} {visible(panel.name)}", loc="left", size=10, **plain_text())
    axes.set_xticks([at + 0.5 for at in range(len(comparison.rows))])
    axes.set_xticklabels([visible(row) for row in comparison.rows], size=8, **plain_text())
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)


def _draw_bar(figure: "Figure", place: tuple[float, float, float, float]) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.add_axes(place)
    scale = ScalarMappable(cmap=color_map())
    figure.colorbar(scale, cax=bar, ticks=[0, 0.5, 1], orientation="horizontal")
    bar.set_xlabel("attribution / largest of the layer", fontsize=8, color=QUIET, labelpad=2)
    bar.tick_params(length=0, labelsize=8)
    for frame in bar.spines.values():
        frame.set_visible(False)
