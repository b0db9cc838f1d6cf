"""Where a method points: at the question, the answer or the rest of the passage (Figure 2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class TopShares(NamedTuple):
    """Where the most attributed tokens lie.

    question, answer, elsewhere: the shares of a fixed number of them, which add up to 1; an answer
        is mostly shorter than that number, so that no method's share in it is near 1
    question_precision, answer_precision: of as many of them as the question, or the answer, has
        tokens, the share that belongs to it (R-precision): 1 for a method that puts it first
    """

    question: float
    answer: float
    elsewhere: float
    question_precision: float
    answer_precision: float


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
    """Where the `count` tokens of the largest attributions lie, and R-precisions.

    Special tokens do not count. Ties are resolved by the mean over all orders of the tied tokens.
    If there are fewer than `count` tokens, all are taken.

    Raises: ValueError if there are only special tokens, or the question or the answer has none.
    """
    known, (question, own, elsewhere) = parts >= 0, places(parts, answer)
    if not (question.any() and own.any()):
        raise ValueError("no token belongs to the question, or to the answer")

    def seats(top: int) -> Float[np.ndarray, " T"]:
        """The share of the `top` tokens that each token is."""
        least = np.sort(attribution[known])[-top]
        above, equal = known & (attribution > least), known & (attribution == least)
        return (above + equal * (top - above.sum()) / equal.sum()) / top

    few = seats(min(count, int(known.sum())))
    return TopShares(
        float(few[question].sum()),
        float(few[own].sum()),
        float(few[elsewhere].sum()),
        question_precision=float(seats(int(question.sum()))[question].sum()),
        answer_precision=float(seats(int(own.sum()))[own].sum()),
    )


def shares_by_chance(parts: Int[np.ndarray, " T"], answer: tuple[int, int]) -> TopShares:
    """The shares that a random ranking has on average: those of all tokens."""
    return top_shares(np.zeros(len(parts)), parts, answer, count=len(parts))
