"""The common parts of pictures: file formats, colours, fonts, the lines at the head."""

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Real

from diffmask_jax.errors import UserError
from diffmask_jax.render.colors import color
from diffmask_jax.render.marks import Marks
from diffmask_jax.runtime.extras import check_installed
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.messages import visible

if TYPE_CHECKING:  # importing matplotlib takes longer than drawing
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

QUIET = "#5d6371"  # secondary text
GRID = "#e2e4ea"  # the lines behind curves
CURVES = ("#353aa6", "#c2410c", "#0f766e", "#a21caf", "#a16207", "#475569")
"""Six distinct colours for curves: blue, orange, green, purple, ochre, slate."""
ENDINGS = (".png", ".svg", ".pdf", ".tex")
"""The formats of pictures; .tex is coloured words for LaTeX (`latex.py`)."""

_DOTS_PER_INCH = 200
_HINTED = 1.06  # how much wider letters may be drawn than designed, rounded to whole dots
_MOST_DOTS = 16_000  # per side

# For scripts that matplotlib's own DejaVu Sans lacks; those that are installed are used.
_OTHER_SCRIPTS = {
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Hiragino Sans", "PingFang SC"),
    *("Microsoft YaHei", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Arabic"),
    *("Noto Sans Bengali", "Noto Sans Thai", "Arial Unicode MS"),
}
_KINDS: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "diffmask"}
_NO_GLYPH = "(Glyph .* missing from|Matplotlib currently does not support)"


def check_picture(path: str | os.PathLike[str]) -> None:
    """Check early, before long work, that a picture can be drawn after it.

    Raises:
      UserError: the ending of `path` is not one of `ENDINGS`, or what it needs is not installed.
    """
    ending = Path(path).suffix
    if ending not in ENDINGS:
        raise UserError(
            f"cannot draw {path}: its name must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        )
    if ending != ".tex":
        check_installed("matplotlib", f"a {ending} picture", extra="viz")


def write(
    path: str | os.PathLike[str], draw: Callable[[], "Figure"], spell: Callable[[], str]
) -> None:
    """Write a figure or, for .tex, a text, in the format of the ending of `path`.

    Raises: UserError as `check_picture` and `save` do.
    """
    check_picture(path)
    if Path(path).suffix == ".tex":
        write_atomically(path, spell())
    else:
        save(draw(), path)


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure, whole or not at all, in the format of the ending of `path`: PNG, SVG or PDF.

    Raises:
      UserError: `path` cannot be written.
    """
    write_atomically(path, file_of(figure, Path(path).suffix[1:]))


def file_of(figure: "Figure", kind: str) -> bytes:
    """The bytes of a "png", "svg" or "pdf" file of a figure.

    Equal figures give equal bytes, without the time of creation. PDF embeds its fonts as TrueType,
    as publishers require; SVG has letters as outlines.
    """
    import matplotlib

    picture = io.BytesIO()
    dots = min(_DOTS_PER_INCH, _MOST_DOTS / max(figure.get_size_inches()))
    timeless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with _silent_about_glyphs(), matplotlib.rc_context(_KINDS):
        figure.savefig(picture, format=kind, dpi=dots, metadata=timeless)
    return picture.getvalue()


@contextlib.contextmanager
def _silent_about_glyphs() -> Iterator[None]:
    """Silence warnings about glyphs that no installed font has: their boxes are visible anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NO_GLYPH)
        yield


def color_map() -> "ListedColormap":
    """The colour scale of all renderings, for matplotlib."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([_unit(color(step / 255)) for step in range(256)])


def draw_cells(
    axes: "Axes",
    x: Real[np.ndarray, " _"],
    y: Real[np.ndarray, " _"],
    values: Float[np.ndarray, "_ _"],
    gap: float,
) -> None:
    """Draw values in [0, 1], NaN white, between the borders x and y of their cells.

    gap: points between two cells
    """
    look: dict[str, Any] = {"cmap": color_map(), "vmin": 0, "vmax": 1, "edgecolors": "white"}
    axes.pcolormesh(x, y, values, linewidth=gap, **look)


def draw_marks(figure: "Figure", labels: Sequence["Text"], marks: Marks) -> None:
    """Make the labels of a predicted answer bold, and underline those of a gold one.

    To be called when everything that moves the labels is in place. Underlining is our own, since
    matplotlib has none.
    """
    for label, predicted in zip(labels, marks.predicted, strict=True):
        if predicted:
            label.set_fontweight("bold")
    if any(marks.gold):
        with _silent_about_glyphs():
            figure.draw_without_rendering()  # before that, the labels of an axis have no place
        for label, gold in zip(labels, marks.gold, strict=True):
            if gold:
                _underline(figure, label)


def _underline(figure: "Figure", label: "Text") -> None:
    """Draw a line along the bottom of a label, however it is rotated about its anchor."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Affine2D

    turn = label.get_rotation()
    label.set_rotation(0)
    box = label.get_window_extent()
    label.set_rotation(turn)
    x, y = label.get_transform().transform(label.get_position())
    turned = Affine2D().rotate_deg_around(x, y, turn) + figure.transFigure.inverted()
    x, y = turned.transform([(box.x0, box.y0), (box.x1, box.y0)]).T
    figure.add_artist(Line2D(x, y, color=label.get_color(), linewidth=1.1))


def plain_text() -> dict[str, Any]:
    """Properties of text that is data: no `$` for formulas, and fonts for every script."""
    from matplotlib.font_manager import get_font_names

    fonts = ["DejaVu Sans", *sorted(_OTHER_SCRIPTS.intersection(get_font_names()))]
    return {"parse_math": False, "usetex": False, "family": fonts}


def headline(title: str, caption: str, room: float) -> list[tuple[str, dict[str, Any]]]:
    """The lines above the cells, in `room` inches, each with its properties."""
    bold, quiet = {"size": 12, "weight": "bold"}, {"size": 10, "color": QUIET}
    return [
        *((line, bold) for line in _wrapped(visible(title), room, bold)),
        *((line, quiet) for line in _wrapped(visible(caption), room, quiet)),
    ]


def _wrapped(text: str, room: float, look: dict[str, Any]) -> list[str]:
    """Lines that fit in `room` inches as they are drawn; a longer word is broken anywhere."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(
        family=plain_text()["family"], size=look["size"], weight=look.get("weight", "normal")
    )

    def fits(line: str) -> bool:
        points: float = text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        return _HINTED * points / 72 <= room

    lines = [""]
    with _silent_about_glyphs():
        for word in text.split():
            if fits(longer := f"{lines[-1]} {word}".lstrip()):
                lines[-1] = longer
                continue
            lines.append("")
            for character in word:
                if lines[-1] and not fits(lines[-1] + character):
                    lines.append("")
                lines[-1] += character
    return [line for line in lines if line]


def _unit(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = rgb
    return red / 255, green / 255, blue / 255
