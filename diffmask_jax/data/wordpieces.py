"""Word pieces of a text, each with its place in the text and the word it belongs to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int

from diffmask_jax.errors import UserError

if TYPE_CHECKING:  # importing transformers takes half a second
    from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]


class Encoded(NamedTuple):
    """A text as T word pieces, special tokens such as [CLS] and [SEP] included.

    Attributes:
      tokens: the pieces as the vocabulary spells them.
      ids: their numbers in the vocabulary.
      offsets: text[start:end] is the piece as it was written; None for a special token.
      words: the word of each piece, as the tokenizer splits words (at blanks and punctuation),
        counted from 0; -1 for a special token.
    """

    tokens: tuple[str, ...]
    ids: Int[np.ndarray, " T"]
    offsets: tuple[Span | None, ...]
    words: Int[np.ndarray, " T"]


def encode(tokenizer: "PreTrainedTokenizerFast", text: str) -> Encoded:
    """The word pieces of one text, however many: check_length and truncate hold the limit.

    Raises:
      UserError: the text is empty, blank or not valid Unicode.
    """
    return batch_encode(tokenizer, [text])[0]


def batch_encode(tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str]) -> list[Encoded]:
    """The word pieces of each text, unpadded, by one call of the tokenizer.

    Raises:
      UserError: a text is empty, blank or not valid Unicode.
    """
    for text in texts:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"not valid Unicode, is the text UTF-8? {_excerpt(text)}")
    if not texts:
        return []
    # Both switches, because a published tokenizer.json may ask for either by itself.
    batch = tokenizer(list(texts), padding=False, truncation=False, verbose=False)
    encoded = []
    for text, pieces in zip(texts, batch.encodings, strict=True):
        special = np.array(pieces.special_tokens_mask, dtype=bool)
        if special.all():
            raise UserError(f"an empty or blank text has nothing to read: {_excerpt(text)}")
        spans = zip(pieces.offsets, special, strict=True)
        words = [-1 if word is None else word for word in pieces.word_ids]
        encoded.append(
            Encoded(
                tokens=tuple(pieces.tokens),
                ids=np.array(pieces.ids, dtype=np.int32),
                offsets=tuple(None if is_special else span for span, is_special in spans),
                words=np.array(words, dtype=np.int32),
            )
        )
    return encoded


def encode_within(
    tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str], limit: int, cut: bool
) -> list[Encoded]:
    """The word pieces of each text, at most `limit`; longer ones are cut, or refused.

    Raises:
      UserError: a text is empty, blank, not valid Unicode or, unless `cut`, too long.
    """
    encoded = batch_encode(tokenizer, texts)
    if cut:
        return [truncate(text, limit) for text in encoded]
    for number, text in enumerate(encoded, start=1):
        try:
            check_length(text, limit)
        except UserError as error:
            raise UserError(f"text {number} of {len(texts)}: {error}") from error
    return encoded


def check_length(encoded: Encoded, limit: int) -> None:
    """Refuses a text of more than `limit` word pieces, special tokens included.

    Raises:
      UserError: it is longer.
    """
    count = len(encoded.tokens)
    if count > limit:
        raise UserError(
            f"the text has {count} word pieces and the limit is {limit}: "
            "shorten it, or pass --truncate to cut it"
        )


def truncate(encoded: Encoded, limit: int) -> Encoded:
    """The first limit - 1 pieces and the closing special token; shorter texts as they are.

    Raises:
      UserError: the limit leaves no room for a piece between [CLS] and [SEP].
    """
    if limit < 3:
        raise UserError(f"a limit of {limit} word pieces leaves none beside [CLS] and [SEP]")
    count = len(encoded.tokens)
    if count <= limit:
        return encoded
    kept = [*range(limit - 1), count - 1]
    return Encoded(
        tokens=tuple(encoded.tokens[i] for i in kept),
        ids=encoded.ids[kept],
        offsets=tuple(encoded.offsets[i] for i in kept),
        words=encoded.words[kept],
    )


def locate(encoded: Encoded, words: Sequence[str]) -> Int[np.ndarray, " T"]:
    """The index in `words` of each piece's word; -1 for special tokens.

    The text that was encoded must be `words` joined by single blanks, so word i ends where the
    lengths of words 0 to i and the blanks between them add up to.

    Raises:
      ValueError: a piece does not lie inside one word: the text was another one.
    """
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    located = np.full(len(encoded.tokens), -1, dtype=np.int32)
    for piece, span in enumerate(encoded.offsets):
        if span is None:
            continue
        word = int(np.searchsorted(ends, span[0], side="right"))
        if word == len(words) or not starts[word] <= span[0] < span[1] <= ends[word]:
            raise ValueError(f"piece {encoded.tokens[piece]!r} at {span} is not inside one word")
        located[piece] = word
    return located


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
