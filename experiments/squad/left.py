"""What is left of questions, passages and answers: the pieces with P(z ≠ 0) > ½."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr

from diffmask_jax.analysis.question_keep import is_right
from diffmask_jax.data.question_pairs import PASSAGE, QUESTION
from diffmask_jax.data.wordpieces import Encoded
from experiments.common.measuring import PerText
from experiments.squad.stages import Answers
from experiments.squad.study import Study

ASKING = {"what", "which", "who", "whose", "whom", "when", "where", "why", "how"}
KEPT = 0.5
LONG = 3
"""An answer of so many pieces has some between its ends."""


class Left(NamedTuple):
    """What a probe keeps of N questions, (L,) each; NaN where there is nothing of the kind.

    pieces, passage: the share kept of all pieces, and of the passages'
    places: the median number of runs of kept pieces in a passage
    with_certainty: Spearman's correlation of that number and the answer's probability
    question_words, other_words: the share kept of `ASKING`, and of a question's other pieces
    opening: of the special tokens before the question, BERT's [CLS]
    ends, inside: of the ends of the model's answers of at least `LONG` pieces, and of what is
        between them
    gold_when_right, gold_when_wrong: the share of questions of which both ends of a gold answer are
        kept, of those answered rightly and wrongly, by their argmaxes
    long, right, wrong: the numbers of such answers
    """

    pieces: Float[np.ndarray, " L"]
    passage: Float[np.ndarray, " L"]
    places: Float[np.ndarray, " L"]
    with_certainty: Float[np.ndarray, " L"]
    question_words: Float[np.ndarray, " L"]
    other_words: Float[np.ndarray, " L"]
    opening: Float[np.ndarray, " L"]
    ends: Float[np.ndarray, " L"]
    inside: Float[np.ndarray, " L"]
    gold_when_right: Float[np.ndarray, " L"]
    gold_when_wrong: Float[np.ndarray, " L"]
    long: int
    right: int
    wrong: int


SHARES = (
    *("pieces", "passage", "question_words", "other_words", "opening", "ends", "inside"),
    *("gold_when_right", "gold_when_wrong"),
)
"""The fields of `Left` that are shares of pieces, or of questions."""


def what_is_left(study: Study, keep: PerText, answers: Answers) -> Left:
    """The numbers of one gate. keep: P(z ≠ 0), averaged over its runs."""
    kept: dict[str, list[Bool[np.ndarray, "L _"]]] = defaultdict(list)
    places, nothing = [], np.zeros((len(keep[0]), 0), bool)
    for question, encoded, values, ends, span, gold in zip(
        study.questions,
        study.data.encoded,
        keep,
        answers.ends,
        answers.spans,
        study.data.spans,
        strict=True,
    ):
        own, parts = values > KEPT, encoded.parts
        passage = own[:, parts == PASSAGE]
        asking = asks(question.question, encoded)
        kept["pieces"].append(own)
        kept["passage"].append(passage)
        kept["question_words"].append(own[:, asking])
        kept["other_words"].append(own[:, (parts == QUESTION) & ~asking])
        kept["opening"].append(own[:, np.maximum.accumulate(parts) < 0])
        places.append(runs(passage))
        first, last = span.tolist()
        if last - first + 1 >= LONG:
            kept["ends"].append(own[:, [first, last]])
            kept["inside"].append(own[:, first + 1 : last])
        if gold:
            both = np.any([own[:, start] & own[:, end] for start, end in gold], axis=0)
            right = is_right(ends, gold)
            kept["gold_when_right" if right else "gold_when_wrong"].append(both[:, None])
    numbers = np.array(places)
    return Left(
        places=np.median(numbers, axis=0),
        with_certainty=np.array([correlation(of, answers.probabilities) for of in numbers.T]),
        long=len(kept["ends"]),
        right=len(kept["gold_when_right"]),
        wrong=len(kept["gold_when_wrong"]),
        **{name: share(kept[name] or [nothing]) for name in SHARES},
    )


def asks(question: str, encoded: Encoded) -> Bool[np.ndarray, " T"]:
    """Which pieces are question words, each one a whole word."""

    def is_whole(start: int, end: int) -> bool:
        return not (question[start - 1 : start].isalnum() or question[end : end + 1].isalnum())

    found = [
        part == QUESTION
        and place is not None
        and question[slice(*place)].lower() in ASKING
        and is_whole(*place)
        for part, place in zip(encoded.parts.tolist(), encoded.offsets, strict=True)
    ]
    return np.array(found)


def runs(kept: Bool[np.ndarray, "L T"]) -> Int[np.ndarray, " L"]:
    """The number of runs of kept pieces, in each row."""
    before = np.pad(kept[:, :-1], ((0, 0), (1, 0)))
    return (kept & ~before).sum(axis=1)


def share(kept: Sequence[Bool[np.ndarray, "L _"]]) -> Float[np.ndarray, " L"]:
    """The share of the columns that are kept, all questions together; NaN if there is none."""
    together = np.concatenate(kept, axis=1)
    if not together.shape[1]:
        return np.full(len(together), np.nan)
    return together.mean(axis=1)


def correlation(numbers: Int[np.ndarray, " N"], probabilities: Float[np.ndarray, " N"]) -> float:
    """Spearman's; NaN where one of the two does not vary."""
    if len(set(numbers.tolist())) < 2 or len(set(probabilities.tolist())) < 2:
        return float("nan")
    return float(spearmanr(numbers, probabilities).statistic)
