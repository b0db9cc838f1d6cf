"""SQuAD's own scores of answers as texts: exact match and F1 (Rajpurkar et al. 2016, section 5).

They agree with the official script for v1.1, evaluate-v1.1.py.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)  # of ASCII only


class Scores(NamedTuple):
    """Means over questions, in percent."""

    exact_match: float
    f1: float


def normalized(text: str) -> str:
    """In lower case, without ASCII punctuation and the words a, an, the, with single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction is, after normalisation, one of the gold answers, else 0.

    Raises: ValueError if there is no gold answer.
    """
    return max(float(normalized(prediction) == normalized(answer)) for answer in answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The largest F1 over the gold answers, from 0 to 1; 0 if no word is shared.

    F1 = 2·c / (p + g): c is the number of shared words, with multiplicity, p and g are the numbers
    of words of the prediction and of the gold answer.

    Raises: ValueError if there is no gold answer.
    """
    return max(_f1(normalized(prediction).split(), normalized(gold).split()) for gold in answers)


def scores(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> Scores:
    """Both scores, over N ≥ 1 questions, each with the texts of its gold answers.

    Raises: ValueError if there are not as many predictions as questions, no question at all, or
      one without an answer.
    """
    if not predictions:
        raise ValueError("no prediction to score")
    pairs = list(zip(predictions, answers, strict=True))
    means = [sum(score(*pair) for pair in pairs) / len(pairs) for score in (exact_match, f1)]
    return Scores(*(100 * mean for mean in means))


def _f1(predicted: list[str], gold: list[str]) -> float:
    shared = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * shared / (len(predicted) + len(gold)) if shared else 0.0
