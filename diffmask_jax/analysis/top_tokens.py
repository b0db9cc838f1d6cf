"""Where a method points: at the question, the answer or the rest of the passage (Figure 2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class TopShares(NamedTuple):
    """The shares of the most attributed tokens that lie in each place; they add up to 1."""

    question: float
    answer: float
    elsewhere: float


def places(
    parts: Int[np.ndarray, " T"], answer: tuple[int, int]
) -> tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]:
    """Which tokens belong to the question, to the answer, and to the rest of the passage.

    parts: 0 the question, 1 the passage, -1 a special token, which is in no place
    answer: its first and its last token
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
    """The share of each place among the `count` tokens of the largest attributions.

    Special tokens do not count. Ties are resolved by the mean over all orders of the tied tokens.
    If there are fewer than `count` tokens, all are taken.

    Raises: ValueError if there are only special tokens.
    """
    known = parts >= 0
    total = int(known.sum())
    if total == 0:
        raise ValueError("no token belongs to the question or the passage")
    count = min(count, total)
    least = np.sort(attribution[known])[-count]
    above, equal = known & (attribution > least), known & (attribution == least)
    seats = above + equal * (count - above.sum()) / equal.sum()
    return TopShares(*(float(seats[place].sum() / count) for place in places(parts, answer)))


def shares_by_chance(parts: Int[np.ndarray, " T"], answer: tuple[int, int]) -> TopShares:
    """The shares that a random ranking has on average: those of all tokens."""
    return top_shares(np.zeros(len(parts)), parts, answer, count=len(parts))
