"""The model's answers from only what a probe keeps of one text, at each layer in turn."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffmask_jax.analysis.replaying import Replay
from diffmask_jax.models.answers import Answer


class Replayed(NamedTuple):
    """The results of one masked pass per layer.

    Positions with P(z ≠ 0) > ½ are kept; the baseline replaces the others.

    answers: the model's answers
    divergence: D_KL[whole ‖ kept], nats
    agreement: with the decision on the whole text, in [0, 1]; for a span, the share of its two ends
    probability: the probability, from what is kept, of the answer to the whole text that people
        are shown; None for a regression
    whole: its probability from the whole text; None for a regression
    """

    answers: tuple[Answer, ...]
    divergence: Float[np.ndarray, " L"]
    agreement: Float[np.ndarray, " L"]
    probability: Float[np.ndarray, " L"] | None
    whole: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types: lists over the layers, except for `whole`."""
        shares: dict[str, Any] = {}
        if self.probability is not None and self.whole is not None:
            shares = {"probability": rounded(self.probability), "whole": round(self.whole, 4)}
        spans = [answer.span.to_dict() for answer in self.answers if answer.span is not None]
        return {
            "prediction": [answer.decision for answer in self.answers],
            "line": [answer.line for answer in self.answers],
            **({"answer": spans} if spans else {}),
            "divergence": rounded(self.divergence),
            "agreement": rounded(self.agreement),
            **shares,
        }


def replayed_of(
    replay: Replay,
    row: int,
    whole: Answer,
    answer: Callable[[np.ndarray], Answer],
    numbers: bool,
) -> Replayed:
    """The results for one text of a batch.

    whole: the answer to the whole text
    answer: outputs -> the answer
    numbers: whether outputs are numbers, which have no probability
    """
    outcome, outputs = replay.outcome, np.asarray(replay.outputs)[:, row]
    probability, of_whole = np.asarray(replay.probability)[:, row], float(replay.whole[row])
    if whole.span is not None:  # the best legal span, not the two argmaxes
        first, last = whole.span.first, whole.span.last
        probability, of_whole = outputs[:, first, 0] * outputs[:, last, 1], whole.span.probability
    return Replayed(
        answers=tuple(map(answer, outputs)),
        divergence=np.asarray(outcome.divergence)[:, row],
        agreement=np.asarray(outcome.agreement)[:, row],
        probability=None if numbers else probability,
        whole=None if numbers else of_whole,
    )


def turned(
    whole: Answer, masked: Sequence[Answer], agreement: Float[np.ndarray, " L"]
) -> Bool[np.ndarray, " L"]:
    """At which layers the answer that people see is another than on the whole text.

    A question's is the best legal span; `agreement` compares its two argmaxes, as the paper does.
    """
    if whole.span is None:
        return agreement < 1
    return np.array([not _same(answer, whole) for answer in masked])


def _same(one: Answer, other: Answer) -> bool:
    """Whether two answers to a question are one; in files of older versions some have no place."""
    if one.span is None or other.span is None:
        return one.decision == other.decision
    return (one.span.first, one.span.last) == (other.span.first, other.span.last)


def rounded(values: np.ndarray) -> list[float]:
    """Values rounded to four decimals, for files."""
    whole: list[float] = np.round(np.asarray(values, np.float64), 4).tolist()
    return whole
