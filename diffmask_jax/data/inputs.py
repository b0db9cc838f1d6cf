"""What a text classifier reads: a padded batch of word pieces."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int


class TextInputs(NamedTuple):
    """A padded batch of texts, or of pairs of texts told apart by their segment."""

    tokens: Int[Array | np.ndarray, "B T"]
    segments: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]
