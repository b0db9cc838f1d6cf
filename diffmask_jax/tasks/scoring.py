"""How a model's answers for examples are scored against gold labels."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.game.divergences import Logits, Prediction
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.heads import Score
from diffmask_jax.models.spans import best_span
from diffmask_jax.tasks import squad_scores
from diffmask_jax.tasks.answer_spans import span_text
from diffmask_jax.tasks.encoded_examples import EncodedExamples
from diffmask_jax.tasks.question_examples import questions_of
from diffmask_jax.tasks.questions import Question


class Scoring(NamedTuple):
    """How a model is scored on N examples.

    Attributes:
      read: logits -> the part of them that is copied from the device, arrays (B, …).
      decide: (that part, (…, B, …); the numbers of the examples in its first rows) -> their
        predictions, (…, B, …). Further rows only fill up a batch, and theirs mean nothing.
      scores: what is measured.
      measure: the predictions for all examples, (N, …) -> each score by its name, in [0, 1] or in
        the outputs' units.
    """

    read: Callable[[Logits], Any]
    decide: Callable[[Any, Int[np.ndarray, " _"]], Prediction]
    scores: tuple[Score, ...]
    measure: Callable[[Prediction], dict[str, float]]


EXACT_MATCH = Score("exact_match", "exact match", True)
F1 = Score("f1", "F1", True)


def scoring_of(model: Classifier, encoded: EncodedExamples, gold: np.ndarray | None) -> Scoring:
    """How a model is scored on examples; without scores if they have no gold labels.

    gold: what `gold_labels` made of the examples
    """
    if gold is not None and model.head.spans:
        return by_answers(encoded)
    return by_labels(model, gold)


def by_labels(model: Classifier, gold: np.ndarray | None) -> Scoring:
    """By the scores of a model's head; by none if there are no labels."""
    return Scoring(
        read=model.network.family.prediction,
        decide=lambda prediction, numbers: prediction,
        scores=() if gold is None else model.head.scores,
        measure=lambda prediction: {} if gold is None else model.head.measure(prediction, gold),
    )


def by_answers(encoded: EncodedExamples) -> Scoring:
    """By the texts of the best legal spans: SQuAD's own exact match and F1 (`squad_scores`)."""
    questions, pieces = questions_of(encoded.examples), encoded.encoded

    def decide(
        logits: Float[np.ndarray, "*L rows T 2"], numbers: Int[np.ndarray, " B"]
    ) -> Int[np.ndarray, "*L B 2"]:
        logits = logits[..., : len(numbers), :, :]
        passage = np.zeros(logits.shape[-3:-1], bool)
        for row, number in enumerate(numbers):
            parts = pieces[number].parts
            passage[row, : len(parts)] = parts == PASSAGE
        return best_span(logits, np.broadcast_to(passage, logits.shape[:-1]))

    def measure(spans: Int[np.ndarray, "N 2"]) -> dict[str, float]:
        scored = squad_scores.scores(*scored_texts(pieces, questions, spans))
        return {EXACT_MATCH.name: scored.exact_match / 100, F1.name: scored.f1 / 100}

    return Scoring(_whole, decide, (EXACT_MATCH, F1), measure)


def _whole(logits: Logits) -> Any:
    return logits


def scored_texts(
    pieces: Sequence[Encoded], questions: Sequence[Question], spans: Int[np.ndarray, "N 2"]
) -> tuple[list[str], list[list[str]]]:
    """What SQuAD's scores compare: the text of one predicted span per question, and its answers."""
    texts = [
        span_text(encoded, question.passage, (first, last))
        for encoded, question, (first, last) in zip(pieces, questions, spans.tolist(), strict=True)
    ]
    gold = [[answer.text for answer in question.answers] for question in questions]
    return texts, gold
