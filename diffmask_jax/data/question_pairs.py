"""Questions and their passages as word pieces; only the passage may be truncated."""

from collections.abc import Sequence

from diffmask_jax.data.encoding import batch_encode, places
from diffmask_jax.data.wordpieces import Encoded, Tokenizer
from diffmask_jax.errors import UserError

QUESTION, PASSAGE = 0, 1
"""The numbers of the two in the pair."""


def encode_question_pairs(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    limit: int,
    cut: bool,
    rows: Sequence[str] | None = None,
) -> list[Encoded]:
    """The word pieces of each question and its passage, at most `limit`.

    cut: truncate the passage of a pair that is too long instead of refusing it.
    rows: how messages refer to each pair, such as its line in a file; by default its number.

    Raises:
      UserError: a question or a passage is empty; a pair is too long and may not be cut, or its
        question alone is too long; or as in `batch_encode`.
    """
    place = places(len(pairs), rows, "question")
    for number, pair in enumerate(pairs, start=1):
        for what, text in zip(("question", "passage"), pair, strict=True):
            if not text.strip():
                raise UserError(f"{place(number)}the {what} is empty or blank: {text!r}")
    encoded = batch_encode(tokenizer, pairs, rows=rows)
    for number, (pair, pieces) in enumerate(zip(pairs, encoded, strict=True), start=1):
        if len(pieces.ids) > limit:
            _check_may_be_cut(pieces, limit, cut, place(number))
            encoded[number - 1] = with_passage_cut(tokenizer, pair, limit)
    return encoded


def with_passage_cut(tokenizer: Tokenizer, pair: tuple[str, str], limit: int) -> Encoded:
    """A question and as much of its passage as fits in `limit` pieces.

    Raises: UserError as `batch_encode` does.
    """
    (pieces,) = batch_encode(tokenizer, [pair], limit, only_second=True)
    return pieces


def beside_passage(pieces: Encoded) -> int:
    """The number of pieces that are not the passage's: the question's and the special ones."""
    return int((pieces.parts != PASSAGE).sum())


def _check_may_be_cut(pieces: Encoded, limit: int, cut: bool, place: str) -> None:
    rest = beside_passage(pieces)
    if rest >= limit:
        raise UserError(
            f"{place}the question has {rest} word pieces, special ones included, which leaves no "
            f"room for its passage within {limit}: shorten it"
        )
    if not cut:
        raise UserError(
            f"{place}the question and its passage have {len(pieces.ids)} word pieces, but the "
            f"limit is {limit}: shorten the passage, or pass --truncate to cut it"
        )
