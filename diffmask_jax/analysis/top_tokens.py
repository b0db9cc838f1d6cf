"""Where a method points: in the question, in the answer, or elsewhere in the passage (Figure 2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class TopShares(NamedTuple):
    """Of the most attributed tokens, the shares in each place; they add up to 1."""

    question: float
    answer: float
    elsewhere: float


def places(
    parts: Int[np.ndarray, " T"], answer: tuple[int, int]
) -> tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]:
    """Which tokens are of the question, of the answer, and of the rest of the passage.

    parts: 0 the question, 1 the passage, -1 a special token, which is in no place.
    answer: its first and its last token, of the passage.
    """
    at = np.arange(len(parts))
    within = (parts == 1) & (at >= answer[0]) & (at <= answer[1])
    return parts == 0, within, (parts == 1) & ~within


def top_shares(
    attribution: Float[np.ndarray, " T"],
    parts: Int[np.ndarray, " T"],
    answer: tuple[int, int],
    count: int,
) -> TopShares:
    """The shares of each place among the `count` tokens of the largest attributions.

    Special tokens do not count. Tokens that are equally much attributed share what seats are left:
    the result is the mean over all orders of them. Of fewer tokens all are taken.

    Raises: ValueError if there are no tokens but special ones.
    """
    known = parts >= 0
    total = int(known.sum())
    if total == 0:
        raise ValueError("no token is of the question or of the passage")
    count = min(count, total)
    least = np.sort(attribution[known])[-count]
    above, equal = known & (attribution > least), known & (attribution == least)
    seats = above + equal * (count - above.sum()) / equal.sum()
    return TopShares(*(float(seats[place].sum() / count) for place in places(parts, answer)))


def shares_by_chance(parts: Int[np.ndarray, " T"], answer: tuple[int, int]) -> TopShares:
    """What a method has that points to all tokens alike: the shares of all tokens."""
    return top_shares(np.zeros(len(parts)), parts, answer, count=len(parts))
