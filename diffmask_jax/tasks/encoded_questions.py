"""Many questions as word pieces with their gold spans, and counts of what was left out or cut."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from diffmask_jax.data.encoding import batch_encode
from diffmask_jax.data.question_pairs import beside_passage, with_passage_cut
from diffmask_jax.data.wordpieces import Encoded, Tokenizer
from diffmask_jax.tasks.answer_spans import PieceSpan, gold_spans
from diffmask_jax.tasks.questions import Question

LONGEST = 384
"""The paper's limit of word pieces, special tokens included, of a question and its passage."""

_AT_ONCE = 1000  # questions: the tokenizer's own results take more memory than their pieces


class Counts(NamedTuple):
    """What happened to the questions and their distinct answers.

    Attributes:
      too_long: questions left out because they have more pieces than the limit; if passages may
        be cut, because the question alone leaves no room for a passage.
      cut: questions whose passage was cut.
      split: answers that begin or end inside a piece, kept with the whole piece.
      lost: answers cut away with the passage's end, or for which the tokenizer has no piece.
      without_span: questions that have answers, but no span; they are kept.
    """

    too_long: int = 0
    cut: int = 0
    split: int = 0
    lost: int = 0
    without_span: int = 0


class EncodedQuestions(NamedTuple):
    """N questions, each paired with its passage.

    Attributes:
      questions: those that were not left out, in order.
      encoded: their pieces.
      spans: the distinct spans of pieces of each question's gold answers, if any.
      counts: how many were left out or cut.
    """

    questions: list[Question]
    encoded: list[Encoded]
    spans: list[tuple[PieceSpan, ...]]
    counts: Counts


def encode_questions(
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    limit: int = LONGEST,
    cut: bool = False,
) -> EncodedQuestions:
    """Questions and passages as pairs of at most `limit` word pieces, with their gold spans.

    cut: truncate the passage of a pair that is too long instead of leaving it out.

    Raises: UserError as `batch_encode` does.
    """
    kept: list[Question] = []
    encoded: list[Encoded] = []
    spans: list[tuple[PieceSpan, ...]] = []
    totals = [0] * len(Counts._fields)
    for question, pieces, is_cut in _pieces(tokenizer, questions, limit, cut):
        if len(pieces.ids) > limit:
            counts = Counts(too_long=1)
        else:
            gold = gold_spans(pieces, question.answers, is_cut)
            counts = Counts(
                cut=is_cut,
                split=gold.split,
                lost=gold.lost,
                without_span=bool(question.answers) and not gold.spans,
            )
            kept.append(question)
            encoded.append(pieces)
            spans.append(gold.spans)
        totals = [total + more for total, more in zip(totals, counts, strict=True)]
    return EncodedQuestions(kept, encoded, spans, Counts(*totals))


def told(counts: Counts, limit: int = LONGEST) -> list[str]:
    """Lines for people on what was left out, cut or widened, if anything."""
    lines = (
        (
            counts.too_long,
            f"questions left out, with over {limit} word pieces together with their passages",
        ),
        (
            counts.cut,
            f"passages cut, to fit in {limit} word pieces together with their whole questions",
        ),
        (counts.split, "gold answers widened, because they begin or end inside a word piece"),
        (counts.lost, "gold answers lost (cut away, or without any word piece)"),
        (counts.without_span, "questions left without a gold answer"),
    )
    return [f"{what}: {count}" for count, what in lines if count]


def _pieces(
    tokenizer: Tokenizer, questions: Sequence[Question], limit: int, cut: bool
) -> Iterator[tuple[Question, Encoded, bool]]:
    """Each question, its pieces, too many perhaps unless `cut`, and whether its passage was cut."""
    for start in range(0, len(questions), _AT_ONCE):
        chunk = questions[start : start + _AT_ONCE]
        pairs, rows = [(one.question, one.passage) for one in chunk], [one.id for one in chunk]
        whole = batch_encode(tokenizer, pairs, rows=rows)
        for question, pieces in zip(chunk, whole, strict=True):
            if cut and len(pieces.ids) > limit > beside_passage(pieces):
                pair = (question.question, question.passage)
                yield question, with_passage_cut(tokenizer, pair, limit), True
            else:
                yield question, pieces, False
