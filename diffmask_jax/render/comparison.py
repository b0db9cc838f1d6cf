"""The attributions of several methods for one text or pair: the data of the paper's Figure 6."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.render.marks import Marks, checked_marks
from diffmask_jax.render.pair import NAMES, checked_parts
from diffmask_jax.render.text import checked_starts


class Panel(NamedTuple):
    """One method's attributions ≥ 0 in its own unit; rows run from the input upwards.

    name: the method, as a heading
    note: the meaning of its values, one line
    """

    name: str
    note: str
    rows: tuple[str, ...]
    values: Float[np.ndarray, "R T"]


class Comparison(NamedTuple):
    """Panels over the same tokens; a panel may lack some of the layers that another has.

    parts: for each token the text that it belongs to, 0 or 1, or -1 for a special token
    names: the names of the two texts of a pair
    marks: which tokens are part of an answer
    starts: for each token whether it begins a word
    """

    title: str
    caption: str
    tokens: tuple[str, ...]
    panels: tuple[Panel, ...]
    parts: tuple[int, ...]
    names: tuple[str, str]
    marks: Marks
    starts: tuple[bool, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """All layers: those of the panel with the most."""
        return max((panel.rows for panel in self.panels), key=len)

    def shares(self, panel: Panel) -> Float[np.ndarray, "L T"]:
        """A panel's normalised values at all layers, NaN at those that it lacks."""
        shares = np.full((len(self.rows), len(self.tokens)), np.nan)
        shares[[self.rows.index(row) for row in panel.rows]] = normalise(panel.values)
        return shares


def make_comparison(
    *,
    title: str,
    caption: str,
    tokens: Sequence[str],
    panels: Sequence[Panel],
    parts: Sequence[int] | None = None,
    names: tuple[str, str] = NAMES,
    marks: Marks | None = None,
    starts: Sequence[bool] | None = None,
) -> Comparison:
    """A comparison whose parts are checked to match.

    Args:
      title: what is explained, one line; may be empty.
      caption: what the model predicted, one line; may be empty.
      tokens: T tokens in reading order, a continued word piece marked by a leading `##`.
      panels: the methods; `values` may be an array of any dtype.
      parts: the text of each token, 0 or 1, or -1 for a special one; None: there is one text.
      names: the names of the two texts of a pair.
      marks: which tokens are part of an answer; None: none is.
      starts: for each token whether it begins a word; None: unless it has a leading `##`.

    Raises:
      ValueError: there is no panel or no token; a panel's values are not (R, T), negative or not
        finite; its rows repeat a layer, or are not among the longest panel's in the same order;
        `parts` are not T of these numbers, or the second text's tokens do not follow the first's;
        there are not T marks, or not T starts.
    """
    if not panels or not tokens:
        raise ValueError("a comparison needs at least one panel and one token")
    checked = tuple(_checked(panel, len(tokens)) for panel in panels)
    texts = checked_parts(parts, len(tokens))
    marked = checked_marks(marks, len(tokens))
    begun = checked_starts(starts, tokens)
    comparison = Comparison(title, caption, tuple(tokens), checked, texts, names, marked, begun)
    for panel in checked:
        if panel.rows != tuple(row for row in comparison.rows if row in panel.rows):
            raise ValueError(f"{panel.name}: rows {panel.rows} do not fit {comparison.rows}")
    return comparison


def normalise(values: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R T"]:
    """Each layer divided by its largest value; a layer of zeros stays zero."""
    largest = values.max(axis=1, keepdims=True)
    return values / np.where(largest > 0, largest, 1)


def _checked(panel: Panel, tokens: int) -> Panel:
    values, shape = np.asarray(panel.values, dtype=np.float64), (len(panel.rows), tokens)
    if values.shape != shape:
        raise ValueError(f"{panel.name}: values have shape {values.shape}, which must be {shape}")
    if not panel.rows or len(set(panel.rows)) < len(panel.rows):
        raise ValueError(f"{panel.name}: rows must name each layer once, not {panel.rows}")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"{panel.name}: attributions must be finite and not negative")
    return panel._replace(rows=tuple(panel.rows), values=values)
