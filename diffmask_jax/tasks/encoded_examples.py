"""Examples as a model reads them: texts, or questions with the word pieces of their answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded, cut_to
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.tasks.columns import USUAL, Columns
from diffmask_jax.tasks.encoded_questions import LONGEST, encode_questions, told
from diffmask_jax.tasks.files import as_cells, open_file
from diffmask_jax.tasks.gold import gold_of
from diffmask_jax.tasks.question_examples import as_examples, questions_of
from diffmask_jax.tasks.question_lines import open_question_lines
from diffmask_jax.tasks.task import Examples, Source


class EncodedExamples(NamedTuple):
    """N texts or pairs as word pieces.

    Attributes:
      examples: those that were not left out, in order.
      encoded: their pieces.
      gold: their gold labels in the form that `gold_of` takes: those of the examples or, for
        questions, the answers' spans of pieces. None if there are none.
      notes: remarks for people on what was left out, cut or widened.
    """

    examples: Examples
    encoded: list[Encoded]
    gold: np.ndarray | None
    notes: tuple[str, ...]


def encode_examples(
    model: Classifier, examples: Examples, truncate: bool = False
) -> EncodedExamples:
    """Examples as a model reads them: texts, or questions if it answers them.

    truncate: truncate texts that are too long for the model instead of refusing them; for
      questions, truncate the passage, to 384 pieces or what the model takes, instead of leaving
      the question out.

    Raises: UserError as `Classifier.encode` does, or if no question is left.
    """
    if model.head.spans:
        return _questions(model, examples, truncate)
    encoded = model.encode(examples.texts, truncate, examples.rows)
    cut = _cut(model, examples.texts, encoded) if truncate else ()
    return EncodedExamples(examples, encoded, examples.gold, (*examples.notes, *cut))


def _cut(model: Classifier, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Iterator[str]:
    """A note on how many texts were truncated, if any; those that just fit are not counted."""
    limit = model.config.positions
    cut = [cut_to(text, one, limit) for text, one in zip(texts, encoded, strict=True)]
    if count := len(cut) - cut.count(None):
        yield f"texts truncated to {limit} word pieces: {count}"


def read_file_for(model: Classifier, path: Path, columns: Columns = USUAL) -> Examples:
    """The examples in a file of texts or, if the model answers questions, of questions.

    Raises: UserError as `read_file` and `read_question_lines` do, or if columns are named for a
      file of questions, whose columns have fixed names.
    """
    return open_file_for(model, path, columns).whole()


def open_file_for(model: Classifier, path: Path, columns: Columns = USUAL) -> Source:
    """The same examples, read in portions. Raises: UserError as `read_file_for` does."""
    if not model.head.spans:
        return open_file(path, columns)
    if columns != USUAL:
        raise UserError('questions must be in columns named "question" and "passage"')
    return open_question_lines(path)


def gold_labels(model: Classifier, encoded: EncodedExamples) -> np.ndarray | None:
    """The gold labels of examples in the form that a model's head expects; None if there are none.

    Raises: UserError if one is not a label of the model's.
    """
    if encoded.gold is None:
        return None
    kind, rows = model.head.problem_type, encoded.examples.rows
    gold = gold_of(encoded.gold, model.labels, kind, rows)
    model.head.check_gold(gold, len(model.labels))
    return gold


def _questions(model: Classifier, examples: Examples, truncate: bool) -> EncodedExamples:
    limit = min(LONGEST, model.config.positions)
    found = encode_questions(model.tokenizer, questions_of(examples), limit, cut=truncate)
    model.check_segments(found.encoded)
    if not found.questions:
        raise UserError(
            f"every question has more than {limit} word pieces together with its passage"
        )
    kept = as_examples(found.questions, examples.notes)
    # None for a question without an answer; no span for one whose answers were cut away.
    spans = [
        spans if question.answers else None
        for question, spans in zip(found.questions, found.spans, strict=True)
    ]
    gold = None if kept.gold is None else as_cells(spans)
    return EncodedExamples(kept, found.encoded, gold, (*kept.notes, *told(found.counts, limit)))
