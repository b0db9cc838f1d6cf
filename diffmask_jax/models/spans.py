"""The answer that people are shown: the best legal span."""

import numpy as np
from jaxtyping import Bool, Float, Int

from diffmask_jax.errors import UserError

LONGEST = 30
"""The largest number of word pieces of an answer, as is usual on SQuAD."""


def probability(probabilities: Float[np.ndarray, "T 2"], span: Int[np.ndarray, "2"]) -> float:
    """That of the start of a span times that of its end."""
    return float(np.prod(probabilities[span, [0, 1]]))


def best_span(
    scores: Float[np.ndarray, "*B T 2"], passage: Bool[np.ndarray, "*B T"], longest: int = LONGEST
) -> Int[np.ndarray, "*B 2"]:
    """The first and the last position of the best legal span, argmax of start_i + end_j.

    Legal: i ≤ j < i + longest, and all of i … j are pieces of the passage. Ties go to the span that
    starts first, then to the shortest.

    scores: start and end logits, or log-probabilities. passage: which positions are its pieces.

    Raises: UserError if a passage has no pieces.
    """
    if not np.all(np.any(passage, axis=-1)):
        raise UserError("the passage has no word pieces: there is nothing to answer from")
    positions = passage.shape[-1]
    # ends[i, k] = i + k; those beyond the last position are ruled out.
    ends = np.arange(positions)[:, None] + np.arange(min(longest, positions))
    inside = np.minimum(ends, positions - 1)
    # A span lies in the passage if it begins there and no piece up to its end is outside.
    outside = np.cumsum(~passage, axis=-1)
    legal = passage[..., None] & (outside[..., inside] == outside[..., None]) & (ends < positions)
    total = scores[..., :, None, 0] + scores[..., inside, 1]
    # A probability of 0 has the logarithm -inf, but its span may be the only legal one.
    total = np.where(legal, np.maximum(total, np.finfo(np.float32).min), -np.inf)
    best = np.argmax(total.reshape(*passage.shape[:-1], -1), axis=-1)
    start, further = np.divmod(best, ends.shape[1])
    return np.stack([start, start + further], axis=-1)
