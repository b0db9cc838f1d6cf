"""Questions and their passages as word pieces: a passage may be cut, a question never is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffmask_jax.data.wordpieces import Encoded, batch_encode
from diffmask_jax.errors import UserError

if TYPE_CHECKING:  # importing transformers takes half a second
    from transformers import PreTrainedTokenizerFast

_PASSAGE = 1  # which text of the pair


def encode_question_pairs(
    tokenizer: "PreTrainedTokenizerFast",
    pairs: Sequence[tuple[str, str]],
    limit: int,
    cut: bool,
) -> list[Encoded]:
    """The word pieces of each question and its passage, at most `limit`.

    cut: cut the passage of what is longer instead of refusing it.

    Raises:
      UserError: a question or a passage is empty; a pair is too long and may not be cut, or its
        question alone is; or as of `batch_encode`.
    """
    for number, pair in enumerate(pairs, start=1):
        for what, text in zip(("question", "passage"), pair, strict=True):
            if not text.strip():
                raise UserError(f"{_place(number, pairs)}the {what} is empty or blank: {text!r}")
    encoded = batch_encode(tokenizer, pairs)
    for number, (pair, pieces) in enumerate(zip(pairs, encoded, strict=True), start=1):
        if len(pieces.ids) > limit:
            _check_may_be_cut(pieces, limit, cut, _place(number, pairs))
            (encoded[number - 1],) = batch_encode(tokenizer, [pair], limit, only_second=True)
    return encoded


def _check_may_be_cut(pieces: Encoded, limit: int, cut: bool, place: str) -> None:
    rest = int((pieces.parts != _PASSAGE).sum())
    if rest >= limit:
        raise UserError(
            f"{place}the question has {rest} word pieces, special ones included, which leaves no "
            f"room for its passage within {limit}: shorten it"
        )
    if not cut:
        raise UserError(
            f"{place}the question and its passage have {len(pieces.ids)} word pieces and the limit "
            f"is {limit}: shorten the passage, or pass --truncate to cut it"
        )


def _place(number: int, pairs: Sequence[tuple[str, str]]) -> str:
    return f"question {number} of {len(pairs)}: " if len(pairs) > 1 else ""
