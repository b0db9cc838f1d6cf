"""A heat map as a picture for papers and slides: layers upwards, tokens along the bottom."""

import io
import os
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffmask_jax.render.colors import color
from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.text import display_width, shorten, visible
from diffmask_jax.runtime.files import write_atomically

if TYPE_CHECKING:  # importing matplotlib takes longer than drawing: only who draws pays for it
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

QUIET = "#5d6371"  # of text beside the point

# All lengths are inches.
_CELL = 0.3
_LOWEST = 1.1  # the cells of one or two layers are stretched: the colour bar needs the height
_LEFT, _RIGHT = 0.75, 1.0  # beside the cells: layer labels, colour bar
_NARROWEST = 5.0  # the title and caption of a text of few tokens still need a line
_LINE = 0.24
_CHARACTERS_PER_INCH = 9.5
_LONGEST_TOKEN = 18  # characters; a slanted longer one would leave the figure at its left
_DOTS_PER_INCH = 200
_MOST_DOTS = 16_000  # per side

# matplotlib's own DejaVu Sans lacks these scripts; whichever fonts the machine has fill in.
_OTHER_SCRIPTS = {
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Hiragino Sans", "PingFang SC"),
    *("Microsoft YaHei", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Arabic"),
    *("Noto Sans Bengali", "Noto Sans Thai", "Arial Unicode MS"),
}
_NO_GLYPH = "(Glyph .* missing from|Matplotlib currently does not support)"


def write_png(heatmap: Heatmap, path: str | os.PathLike[str]) -> None:
    """Writes the token x layer heat map, the input layer at the bottom, as a PNG file.

    The figure grows with the number of tokens and layers, up to 16 000 dots a side: the resolution
    drops for texts of several hundred tokens.

    Raises:
      UserError: `path` cannot be written.
    """
    save(_draw(heatmap), path)


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG file, whole or not at all.

    Raises:
      UserError: `path` cannot be written.
    """
    picture = io.BytesIO()
    dots = min(_DOTS_PER_INCH, _MOST_DOTS / max(figure.get_size_inches()))
    with warnings.catch_warnings():
        # A glyph that no installed font has is drawn as a box, which the reader can see.
        warnings.filterwarnings("ignore", message=_NO_GLYPH)
        figure.savefig(picture, format="png", dpi=dots)
    write_atomically(path, picture.getvalue())


def color_map() -> "ListedColormap":
    """The colour scale of every rendering, for matplotlib."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([_unit(color(step / 255)) for step in range(256)])


def plain_text() -> dict[str, Any]:
    """For text that is data: `$` starts no formula, and every script finds its font."""
    from matplotlib.font_manager import get_font_names

    fonts = ["DejaVu Sans", *sorted(_OTHER_SCRIPTS.intersection(get_font_names()))]
    return {"parse_math": False, "usetex": False, "family": fonts}


def headline(title: str, caption: str, room: float) -> list[tuple[str, dict[str, Any]]]:
    """The lines above the cells, in `room` inches, each with its look."""
    characters = int(room * _CHARACTERS_PER_INCH)
    bold, quiet = {"size": 12, "weight": "bold"}, {"size": 10, "color": QUIET}
    return [
        *((line, bold) for line in textwrap.wrap(visible(title), characters)),
        *((line, quiet) for line in textwrap.wrap(visible(caption), int(1.2 * characters))),
    ]


def _draw(heatmap: Heatmap) -> "Figure":
    # The figure is made without pyplot, whose global list of figures is not ours to fill.
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    tokens = [shorten(visible(token), _LONGEST_TOKEN) for token in heatmap.tokens]
    cells_wide, cells_high = _CELL * len(tokens), max(_LOWEST, _CELL * len(heatmap.rows))
    width = max(_NARROWEST, _LEFT + cells_wide + _RIGHT)
    head = headline(heatmap.title, heatmap.caption, width - _LEFT)
    above, below = _LINE * (len(head) + 0.8), 0.2 + 0.07 * max(map(display_width, tokens))
    height = above + cells_high + below
    bottom, share = below / height, cells_high / height

    figure = Figure(figsize=(width, height), facecolor="white")
    scale = color_map()
    cells = figure.add_axes((_LEFT / width, bottom, cells_wide / width, share))
    cells.pcolormesh(heatmap.values, cmap=scale, vmin=0, vmax=1, edgecolors="white", linewidth=1)
    _label(cells, tokens, [visible(row) for row in heatmap.rows])
    bar = figure.add_axes(((_LEFT + cells_wide + 0.2) / width, bottom, 0.12 / width, share))
    figure.colorbar(ScalarMappable(cmap=scale), cax=bar, ticks=[0, 0.5, 1])
    bar.set_ylabel("keep probability", fontsize=9)
    bar.tick_params(length=0, labelsize=9)
    for frame in (*cells.spines.values(), *bar.spines.values()):
        frame.set_visible(False)
    for number, (line, look) in enumerate(head):
        y = 1 - _LINE * (number + 0.9) / height
        figure.text(_LEFT / width, y, line, **look, **plain_text())
    return figure


def _label(cells: "Axes", tokens: Sequence[str], rows: Sequence[str]) -> None:
    cells.set_xticks([column + 0.5 for column in range(len(tokens))])
    cells.set_yticks([row + 0.5 for row in range(len(rows))])
    labels = cells.set_xticklabels(tokens, size=10, **plain_text())
    for label, token in zip(labels, tokens, strict=True):
        if display_width(token) > 2:  # a comma on a slant would be hard to recognise
            label.set(rotation=55, ha="right", va="top", rotation_mode="anchor")
    cells.set_yticklabels(rows, size=10, **plain_text())
    cells.set_ylabel("layer", fontsize=9)
    cells.tick_params(length=0)


def _unit(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = rgb
    return red / 255, green / 255, blue / 255
