"""Curves over training steps as a picture: a panel per quantity, a line per layer or run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffmask_jax.render.colors import color
from diffmask_jax.render.picture import CURVES, GRID, file_of, headline, plain_text
from diffmask_jax.runtime.extras import needs

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Line(NamedTuple):
    """Values at some steps; NaN leaves a gap."""

    steps: Int[np.ndarray, " N"]
    values: Float[np.ndarray, " N"]


class Quantity(NamedTuple):
    """The content of a panel.

    lines: by name
    percent: whether values are shares of 1, shown in percent
    level: a value to compare with, drawn as a dashed line
    """

    title: str
    lines: Mapping[str, Line]
    percent: bool = False
    level: tuple[str, float] | None = None


def picture(title: str, quantities: Sequence[Quantity]) -> bytes:
    """A PNG file with one panel per quantity, side by side, all with the same lines.

    Up to six lines have distinct colours; more, such as layers, go from light to dark.
    """
    with needs("curves.png", extra="viz"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(3.7 * len(quantities), 3.4), layout="constrained")
    ((shown, look), *_) = headline(title, "", 3.7 * len(quantities))
    figure.suptitle(shown, **look | plain_text())
    for axes, quantity in zip(
        figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True
    ):
        _draw(axes, quantity)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(14 if len(quantities[0].lines) > len(CURVES) else 6, len(quantities[0].lines)),
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        columnspacing=1.2,
    )
    return file_of(figure, "png")


def _draw(axes: "Axes", quantity: Quantity) -> None:
    from matplotlib.ticker import PercentFormatter

    title = quantity.title
    for line_color, (name, line) in zip(
        _colors(len(quantity.lines)), quantity.lines.items(), strict=True
    ):
        axes.plot(line.steps, line.values, color=line_color, linewidth=1.4, label=name)
    axes.set_xlabel("step", fontsize=9)
    if quantity.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if quantity.level is not None:
        name, value = quantity.level
        axes.axhline(value, color="black", linewidth=1.2, linestyle=(0, (4, 3)), zorder=3)
        title = f"{title}, {name} {value:g} dashed"
    # Last, since it fixes the limits of the axis: a level above all lines must be visible, too.
    axes.set_ylim(bottom=0, top=1.02 if quantity.percent else None)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, which="both")
    axes.spines[:].set_visible(False)


def _colors(count: int) -> Sequence[str | tuple[float, ...]]:
    if count <= len(CURVES):
        return CURVES[:count]
    return [tuple(part / 255 for part in color(share)) for share in np.linspace(0.25, 1, count)]
