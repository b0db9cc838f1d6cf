"""Examples as a model reads them: texts, or questions with the word pieces of their answers."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffmask_jax.data.wordpieces import Encoded
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
      examples: those that were not left out, in their order.
      encoded: their pieces.
      gold: their gold labels as `gold_of` takes them: those of the examples or, of a question, the
        spans of pieces of its answers. None where there are none.
      notes: what was left out, cut or widened, for people.
    """

    examples: Examples
    encoded: list[Encoded]
    gold: np.ndarray | None
    notes: tuple[str, ...]


def encode_examples(
    model: Classifier, examples: Examples, truncate: bool = False
) -> EncodedExamples:
    """What a model makes of examples: texts, or questions where it answers them.

    truncate: cut texts longer than the model takes instead of refusing them; of a question, its
      passage alone, to 384 pieces or what the model takes, instead of leaving the question out.

    Raises: UserError as of `Classifier.encode`, or if no question is left.
    """
    if model.head.spans:
        return _questions(model, examples, truncate)
    encoded = model.encode(examples.texts, truncate, examples.rows)
    return EncodedExamples(examples, encoded, examples.gold, examples.notes)


def read_file_for(model: Classifier, path: Path, columns: Columns = USUAL) -> Examples:
    """The examples in a file of texts or, where the model answers questions, of questions.

    Raises: UserError as of `read_file` and `read_question_lines`; columns are named and the file
      has questions, whose columns have their own names.
    """
    return open_file_for(model, path, columns).whole()


def open_file_for(model: Classifier, path: Path, columns: Columns = USUAL) -> Source:
    """The same, to be read a portion at a time. Raises: UserError as `read_file_for` does."""
    if not model.head.spans:
        return open_file(path, columns)
    if columns != USUAL:
        raise UserError('questions stand in columns of fixed names: "question", "passage"')
    return open_question_lines(path)


def gold_labels(model: Classifier, encoded: EncodedExamples) -> np.ndarray | None:
    """The gold labels of examples as a model's head has them; None where they have none.

    Raises: UserError if one is none of the model's.
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
        raise UserError(f"every question has over {limit} word pieces with its passage")
    kept = as_examples(found.questions, examples.notes)
    # Of a question without an answer None, of one whose answers were cut away no span.
    spans = [
        spans if question.answers else None
        for question, spans in zip(found.questions, found.spans, strict=True)
    ]
    gold = None if kept.gold is None else as_cells(spans)
    return EncodedExamples(kept, found.encoded, gold, (*kept.notes, *told(found.counts, limit)))
