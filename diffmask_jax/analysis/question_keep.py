"""What a probe keeps of questions, of passages and of gold answers, by layer (paper, Figure 7).

As in the authors' notebooks, each question's mean counts once, and an answer is right if both of
its ends, each an argmax for itself, are those of one gold span.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffmask_jax.analysis import token_groups
from diffmask_jax.analysis.token_groups import Difference, Sources

Keep = Float[np.ndarray, "L _"]
"""P(z ≠ 0) of every token of one question and its passage, at every layer: (L, T)."""

Parts = Int[np.ndarray, " _"]
"""The text that each token belongs to, (T): 0 the question, 1 the passage, -1 a special token."""

Spans = Sequence[tuple[int, int]]
"""The first and the last token of every gold answer; empty if there is none."""

QUESTION, PASSAGE, SPECIAL = "question", "passage", "special"


class KeptCurves(NamedTuple):
    """Mean keep probabilities over N questions, (L,) each; NaN where there is no such question.

    question, passage: of all its tokens
    gold: `gold_keep` of the questions that have a gold answer
    gold_when_wrong: `gold_keep` of those that are answered wrongly
    wrong: the number of questions answered wrongly
    """

    question: Float[np.ndarray, " L"]
    passage: Float[np.ndarray, " L"]
    gold: Float[np.ndarray, " L"]
    gold_when_wrong: Float[np.ndarray, " L"]
    wrong: int


def gold_keep(keep: Keep, spans: Spans) -> Float[np.ndarray, " L"]:
    """max over gold spans of ½·(keep of the first token + keep of the last), at each layer.

    Raises: ValueError if there is no span.
    """
    if not spans:
        raise ValueError("no gold span: nothing is known to be kept")
    first, last = np.array(spans).T
    kept: Float[np.ndarray, " L"] = ((keep[:, first] + keep[:, last]) / 2).max(axis=1)
    return kept


def is_right(prediction: Int[np.ndarray, "2"], spans: Spans) -> bool:
    """Whether a predicted start and end are those of a gold span."""
    return tuple(prediction.tolist()) in set(spans)


def kept_curves(
    keep: Sequence[Keep],
    parts: Sequence[Parts],
    spans: Sequence[Spans],
    predictions: Int[np.ndarray, "N 2"],
) -> KeptCurves:
    """The four curves of Figure 7 over N ≥ 1 questions.

    predictions: the start and the end predicted for each, unmasked.

    Raises: ValueError if the arguments are not of one length.
    """
    question, passage, gold, wrong = [], [], [], []
    for values, texts, answers, predicted in zip(keep, parts, spans, predictions, strict=True):
        question.append(values[:, texts == 0].mean(axis=1))
        passage.append(values[:, texts == 1].mean(axis=1))
        if answers:
            gold.append(gold_keep(values, answers))
            if not is_right(predicted, answers):
                wrong.append(gold[-1])
    nothing = [np.full(len(keep[0]), np.nan)]
    return KeptCurves(
        np.mean(question, axis=0),
        np.mean(passage, axis=0),
        np.mean(gold or nothing, axis=0),
        np.mean(wrong or nothing, axis=0),
        len(wrong),
    )


def question_minus_passage(
    keep: Sequence[Keep], parts: Sequence[Parts], passages: Sources
) -> Difference:
    """Mean keep probability of question tokens minus passage tokens, over all layers given.

    Each question gives one difference; the test is that of `token_groups.difference`, whose sources
    are the passages.

    Raises: ValueError as `token_groups.difference` does.
    """
    names = {0: QUESTION, 1: PASSAGE, -1: SPECIAL}
    return token_groups.difference(
        [values.mean(axis=0) for values in keep],
        [[names[part] for part in texts.tolist()] for texts in parts],
        passages,
        high={QUESTION},
        low={PASSAGE},
    )


def separators_keep(keep: Sequence[Keep], parts: Sequence[Parts]) -> Float[np.ndarray, " L"]:
    """Mean keep probability of the special tokens that follow a text, BERT's [SEP], at each layer.

    Every such token of N ≥ 1 questions has the same weight; those before the question do not count.
    """
    behind = [
        values[:, (texts < 0) & (np.maximum.accumulate(texts) >= 0)]
        for values, texts in zip(keep, parts, strict=True)
    ]
    return np.concatenate(behind, axis=1).mean(axis=1)
