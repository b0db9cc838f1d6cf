"""The inputs of a text classifier: a padded batch of word pieces."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int


class TextInputs(NamedTuple):
    """A padded batch of texts, or of pairs of texts, distinguished by their segment."""

    tokens: Int[Array | np.ndarray, "B T"]
    segments: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]


class PackedInputs(NamedTuple):
    """A padded batch in which several texts, or pairs, follow one another in a row.

    places: each position counted from the start of its own text; 0 at padding, too
    """

    tokens: Int[Array | np.ndarray, "B T"]
    segments: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]
    places: Int[Array | np.ndarray, "B T"]


EncoderInputs = TextInputs | PackedInputs
