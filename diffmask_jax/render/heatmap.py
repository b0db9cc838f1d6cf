"""The data of every rendering: keep probabilities of tokens (columns) at layers (rows)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.render.marks import Marks, checked_marks
from diffmask_jax.render.pair import NAMES, checked_parts, texts
from diffmask_jax.render.text import checked_starts

_ROUNDING = 1e-6  # a mean of ones may leave [0, 1] by this much in float32


class Heatmap(NamedTuple):
    """Keep probabilities in [0, 1]; rows run from the input upwards, so the last is the top.

    parts: for each token the text that it belongs to, 0 or 1, or -1 for a special token
    names: the names of the two texts of a pair
    marks: which tokens are part of an answer
    starts: for each token whether it begins a word
    """

    title: str
    caption: str
    tokens: tuple[str, ...]
    rows: tuple[str, ...]
    values: Float[np.ndarray, "R T"]
    parts: tuple[int, ...]
    names: tuple[str, str]
    marks: Marks
    starts: tuple[bool, ...]

    @property
    def texts(self) -> list[tuple[str, "Heatmap"]]:
        """The texts with their special tokens, by name; a single text has no name."""
        named = texts(self.parts, self.names)
        return [(name, self._of(slice(run.start, run.stop))) for name, run in named]

    def _of(self, run: slice) -> "Heatmap":
        return self._replace(
            tokens=self.tokens[run],
            values=self.values[:, run],
            parts=self.parts[run],
            marks=self.marks.of(run),
            starts=self.starts[run],
        )


def make_heatmap(
    *,
    title: str,
    caption: str,
    tokens: Sequence[str],
    rows: Sequence[str],
    values: Array | np.ndarray,
    parts: Sequence[int] | None = None,
    names: tuple[str, str] = NAMES,
    marks: Marks | None = None,
    starts: Sequence[bool] | None = None,
) -> Heatmap:
    """A heat map whose parts are checked to match.

    Args:
      title: what is explained, one line; may be empty.
      caption: what the model predicted, one line; may be empty.
      tokens: T tokens in reading order, a continued word piece marked by a leading `##`.
      rows: R layer labels from the input upwards, such as ("W", "E", "1", ..., "12").
      values: (R, T) keep probabilities, in an array of any dtype.
      parts: the text of each token, 0 or 1, or -1 for a special one; None: there is one text.
      names: the names of the two texts of a pair.
      marks: which tokens are part of an answer; None: none is.
      starts: for each token whether it begins a word; None: unless it has a leading `##`.

    Raises:
      ValueError: `values` is not (R, T), has no entry, or leaves [0, 1] (NaN included); `parts`
        are not T of these numbers, or the second text's tokens do not follow the first's; there
        are not T marks, or not T starts.
    """
    array = np.asarray(values, dtype=np.float32)
    shape = (len(rows), len(tokens))
    if array.shape != shape:
        raise ValueError(f"values have shape {array.shape}, but rows and tokens need {shape}")
    if array.size == 0:
        raise ValueError(f"a heat map needs at least one row and one token, not {shape}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also false for NaN
        raise ValueError(f"keep probabilities must lie in [0, 1], not in [{low:g}, {high:g}]")
    array = np.clip(array, 0.0, 1.0)
    texts_of = checked_parts(parts, len(tokens))
    marked = checked_marks(marks, len(tokens))
    begun = checked_starts(starts, tokens)
    return Heatmap(
        title, caption, tuple(tokens), tuple(rows), array, texts_of, names, marked, begun
    )
