"""What a text classifier reads: a padded batch of word pieces."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int


class TextInputs(NamedTuple):
    """A padded batch of texts, or of pairs of texts told apart by their segment."""

    tokens: Int[Array | np.ndarray, "B T"]
    segments: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]


class PackedInputs(NamedTuple):
    """The same where texts, or pairs of texts, stand one behind another in a row.

    places: of each position in its own text, 0 where one begins; 0 in padding, too
    """

    tokens: Int[Array | np.ndarray, "B T"]
    segments: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]
    places: Int[Array | np.ndarray, "B T"]


EncoderInputs = TextInputs | PackedInputs
