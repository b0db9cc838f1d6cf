"""Answers as spans of word pieces of a question and its passage, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.tasks.questions import Answer

PieceSpan = tuple[int, int]
"""The first and the last piece of a span, counted from the pair's first special token."""


class GoldSpans(NamedTuple):
    """The answers of one question as spans of pieces.

    Attributes:
      spans: the distinct spans, in order of first occurrence.
      split: how many distinct answers begin or end inside a piece, so that their span has more
        characters.
      lost: how many distinct answers have no span: the passage was cut before their end, or the
        tokenizer has no piece for them.
    """

    spans: tuple[PieceSpan, ...]
    split: int
    lost: int


def gold_spans(encoded: Encoded, answers: Sequence[Answer], is_cut: bool = False) -> GoldSpans:
    """The spans of pieces of the answers of all annotators.

    Args:
      encoded: a question and its passage.
      answers: answers in that passage.
      is_cut: whether the passage continues beyond its pieces.
    """
    ends = [span[1] for span in _passage_spans(encoded)]
    visible = max(ends, default=0)
    spans: list[PieceSpan] = []
    split = lost = 0
    for answer in dict.fromkeys(answers):
        text = answer.text.rstrip()
        pieces = piece_span(encoded, answer.start, answer.start + len(text))
        if pieces is None or (is_cut and answer.start + len(text) > visible):
            lost += 1
            continue
        start, stop = characters(encoded, pieces)
        split += start < answer.start or stop > answer.stop
        spans.append(pieces)
    return GoldSpans(tuple(dict.fromkeys(spans)), split, lost)


def piece_span(encoded: Encoded, start: int, stop: int) -> PieceSpan | None:
    """The first and the last piece that share a character with passage[start:stop].

    None if no piece does.
    """
    places = np.flatnonzero(encoded.parts == PASSAGE)
    begins, ends = np.array(_passage_spans(encoded), int).reshape(-1, 2).T
    shared = np.minimum(ends, stop) - np.maximum(begins, start)
    touching = places[shared > 0]
    return (int(touching[0]), int(touching[-1])) if len(touching) else None


def characters(encoded: Encoded, span: PieceSpan) -> tuple[int, int]:
    """The (start, stop) in the passage of a span of pieces; (0, 0) if it is not a span of it.

    It is not if it ends before it begins, or if one of its ends is not a piece of the passage.
    """
    first, last = span
    if first > last or not (encoded.parts[first] == encoded.parts[last] == PASSAGE):
        return 0, 0
    begin, end = encoded.offsets[first], encoded.offsets[last]
    assert begin is not None and end is not None  # they are pieces of a text
    return begin[0], end[1]


def span_text(encoded: Encoded, passage: str, span: PieceSpan) -> str:
    """The text of a span in the passage, for scoring; "" if it is not a span of it."""
    return passage[slice(*characters(encoded, span))]


def _passage_spans(encoded: Encoded) -> list[tuple[int, int]]:
    places = np.flatnonzero(encoded.parts == PASSAGE).tolist()
    return [span for place in places if (span := encoded.offsets[place]) is not None]
