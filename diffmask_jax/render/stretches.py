"""The places of the cells of one or two texts along an axis of a picture, in units of a cell."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.render.pair import NAMES, is_pair, texts
from diffmask_jax.render.picture import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOK: dict[str, Any] = {"size": 8, "color": QUIET}
_LINE: dict[str, Any] = {"color": QUIET, "linewidth": 0.7, "alpha": 0.7}


class Stretch(NamedTuple):
    """The cells of one text, side by side; its name is empty if there is no other text.

    tokens: the numbers of its tokens
    start: where the first of their cells begins
    """

    name: str
    tokens: range
    start: float

    @property
    def own(self) -> slice:
        """Its tokens, as an index of arrays."""
        return slice(self.tokens.start, self.tokens.stop)

    @property
    def borders(self) -> Float[np.ndarray, " _"]:
        """The borders of its cells: one more than there are cells."""
        return self.start + np.arange(len(self.tokens) + 1)


def stretches(
    parts: Sequence[int],
    names: Sequence[str] = NAMES,
    *,
    before: float = 0.0,
    between: float,
) -> list[Stretch]:
    """The texts one after another, with room before and between the two of a pair."""
    start = before if is_pair(parts) else 0.0
    placed = []
    for name, run in texts(parts, names):
        placed.append(Stretch(name, run, start))
        start += len(run) + between
    return placed


def broken(
    parts: Sequence[int], names: Sequence[str] = NAMES, *, between: float, longest: int
) -> list[list[Stretch]]:
    """The texts side by side if they have at most `longest` tokens, else each on its own lines.

    The lines of a text are of about equal length; the first has the text's name.
    """
    if len(parts) <= longest:
        return [stretches(parts, names, between=between)]
    lines = []
    for name, run in texts(parts, names):
        size = -(-len(run) // -(-len(run) // longest))
        for at in range(0, len(run), size):
            lines.append([Stretch("" if at else name, run[at : at + size], 0.0)])
    return lines


def end(placed: Sequence[Stretch]) -> float:
    """Where the last cell ends."""
    return float(placed[-1].borders[-1])


def middles(placed: Sequence[Stretch]) -> list[float]:
    """The middle of every token's cell."""
    return [at + 0.5 for stretch in placed for at in stretch.borders[:-1].tolist()]


def name_columns(axes: "Axes", placed: Sequence[Stretch], above: float) -> None:
    """Write the names `above` heights of the axes over the cells, with a line between texts."""
    place = axes.get_xaxis_transform()
    for number, text in enumerate(placed):
        axes.text(text.start, 1 + above, text.name, transform=place, **_LOOK)
        if number:
            line = (placed[number - 1].borders[-1] + text.start) / 2
            axes.axvline(line, ymax=1 + 3 * above, clip_on=False, **_LINE)


def name_rows(axes: "Axes", placed: Sequence[Stretch], room: float) -> None:
    """Write the names into the `room` over each text's rows, with a line between texts."""
    place = axes.get_yaxis_transform()
    for number, text in enumerate(placed):
        axes.text(0, text.start - 0.2, text.name, transform=place, **_LOOK)
        if number:
            axes.axhline(text.start - room, **_LINE)
