"""What every rendering draws: keep probabilities of tokens (columns) at layers (rows)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

_ROUNDING = 1e-6  # a mean of ones may leave [0, 1] by this much in float32


class Heatmap(NamedTuple):
    """Keep probabilities in [0, 1]; rows run from the input upwards, so the last is the top."""

    title: str
    caption: str
    tokens: tuple[str, ...]
    rows: tuple[str, ...]
    values: Float[np.ndarray, "R T"]


def make_heatmap(
    *,
    title: str,
    caption: str,
    tokens: Sequence[str],
    rows: Sequence[str],
    values: Array | np.ndarray,
) -> Heatmap:
    """A heat map whose parts are known to fit together.

    Args:
      title: what is explained, one line; may be empty.
      caption: what the model predicted, one line; may be empty.
      tokens: T tokens in reading order, a continued word piece marked by a leading `##`.
      rows: R layer labels from the input upwards, such as ("W", "E", "1", ..., "12").
      values: (R, T) keep probabilities, in an array of any dtype.

    Raises:
      ValueError: `values` is not (R, T), has no entry, or leaves [0, 1] (NaN included).
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
    return Heatmap(title, caption, tuple(tokens), tuple(rows), np.clip(array, 0.0, 1.0))
