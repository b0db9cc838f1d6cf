"""A network's answer for one text: a class, labels, numbers, or a span of a passage.

Each function takes the names of the outputs, one row of `Family.outputs`, the text or pair, and its
word pieces.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.models import spans


class AnswerSpan(NamedTuple):
    """The place of an answer: passage[start:end] is its text, first … last its word pieces.

    probability: that of its start times that of its end
    """

    start: int
    end: int
    first: int
    last: int
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return self._asdict() | {"probability": round(self.probability, 4)}


class Answer(NamedTuple):
    """A network's answer for one text, for people and files.

    decision: a class name, the names of all labels that are set, numbers, or the answer's text
    line: the decision in words, with its probability
    span: the place of the answer to a question; None if no question was asked
    """

    decision: str | tuple[str, ...] | float | tuple[float, ...]
    line: str
    span: AnswerSpan | None = None


def one_class(
    labels: Sequence[str], probabilities: Float[np.ndarray, " C"], text: Text, encoded: Encoded
) -> Answer:
    """The likeliest class."""
    best = int(np.argmax(probabilities))
    return Answer(labels[best], f"“{labels[best]}” with probability {probabilities[best]:.2f}")


def set_of_labels(
    labels: Sequence[str], probabilities: Float[np.ndarray, " C"], text: Text, encoded: Encoded
) -> Answer:
    """Every label that is likelier than not."""
    chosen = tuple(label for label, p in zip(labels, probabilities, strict=True) if p > 0.5)
    named = [
        f"“{label}” ({p:.2f})" for label, p in zip(labels, probabilities, strict=True) if p > 0.5
    ]
    return Answer(chosen, ", ".join(named) or f"no label (the likeliest {max(probabilities):.2f})")


def numbers(
    labels: Sequence[str], outputs: Float[np.ndarray, " C"], text: Text, encoded: Encoded
) -> Answer:
    """The outputs themselves."""
    values = tuple(float(value) for value in outputs)
    if len(values) == 1:
        return Answer(values[0], f"{values[0]:.3f}")
    named = ", ".join(f"{name} {value:.3f}" for name, value in zip(labels, values, strict=True))
    return Answer(values, named)


def answer_span(
    labels: Sequence[str], probabilities: Float[np.ndarray, "T 2"], text: Text, encoded: Encoded
) -> Answer:
    """The best legal span. Its probability is that of its start times that of its end.

    Raises: UserError if there is no passage.
    """
    if isinstance(text, str):
        raise UserError("a question is answered from a passage: give both, as a pair")
    with np.errstate(divide="ignore"):
        scores = np.log(probabilities[: len(encoded.tokens)])
    places = spans.best_span(scores, encoded.parts == PASSAGE)
    first, last = (encoded.offsets[place] for place in places)
    assert first is not None and last is not None  # they are pieces of the passage
    answer = text[PASSAGE][first[0] : last[1]]
    probability = spans.probability(probabilities, places)
    begins, ends = places.tolist()
    span = AnswerSpan(first[0], last[1], begins, ends, probability)
    return Answer(answer, f"“{answer}” with probability {probability:.2f}", span)
