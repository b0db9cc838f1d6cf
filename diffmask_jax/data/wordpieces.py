"""The word pieces of a text or a pair, with their places in the text and their words."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from diffmask_jax.data.texts import Text, halves_of
from diffmask_jax.data.words import Span
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.messages import shows

SEGMENTS = "token_type_ids"
"""What transformers calls the kinds of segments that a model is fed."""


@runtime_checkable
class Tokenizer(Protocol):
    """The interface of a fast tokenizer, be it transformers' own or a cached one.

    Attributes:
      backend_tokenizer: the tokenizers library's object.
      model_input_names: contains `SEGMENTS` if the model reads segments.
      truncation_side: where a text that is too long is cut, "right" or "left".
    """

    @property
    def backend_tokenizer(self) -> Any: ...
    @property
    def model_input_names(self) -> Sequence[str]: ...
    @property
    def truncation_side(self) -> str: ...


class Encoded(NamedTuple):
    """A text, or a pair of texts, as T word pieces, including special tokens such as [CLS].

    Attributes:
      tokens: the pieces as the vocabulary spells them.
      ids: their numbers in the vocabulary.
      offsets: the (start, end) of each piece in its own text, without blanks around it; empty for
        a piece of blanks alone; None for a special token.
      words: the word of each piece, numbered through both texts; a word ends at blanks and at
        punctuation marks, each of which is a word; -1 for a special token.
      segments: the token type ids that the model reads.
      parts: the text of each piece, 0 or 1; -1 for a special token.
      shown: the piece as people write it: text[start:end], after "##" if it continues the word of
        the piece before; "##·" for a further piece of the same character, "␣" for a piece of
        blanks alone; a special token as it is.
    """

    tokens: tuple[str, ...]
    ids: Int[np.ndarray, " T"]
    offsets: tuple[Span | None, ...]
    words: Int[np.ndarray, " T"]
    segments: Int[np.ndarray, " T"]
    parts: Int[np.ndarray, " T"]
    shown: tuple[str, ...]


def check_length(encoded: Encoded, limit: int) -> None:
    """Check that a text or pair has at most `limit` word pieces, special tokens included.

    Raises:
      UserError: it is longer.
    """
    count = len(encoded.tokens)
    if count > limit:
        raise UserError(
            f"the {'pair' if 1 in encoded.parts else 'text'} has {count} word pieces, but the "
            f"limit is {limit}: shorten it, or pass --truncate to cut it"
        )


def cut_to(text: Text, encoded: Encoded, limit: int) -> int | None:
    """The limit, if a text or pair was truncated to that many word pieces; None if not."""
    if len(encoded.tokens) < limit:
        return None
    for part, half in enumerate(halves_of(text)):
        own = zip(encoded.offsets, encoded.parts.tolist(), strict=True)
        begins, ends = zip(
            *(span for span, at in own if span is not None and at == part), strict=True
        )
        if shows(half[: min(begins)]) or shows(half[max(ends) :]):
            return limit
    return None


def locate(encoded: Encoded, words: Sequence[str]) -> Int[np.ndarray, " T"]:
    """The index in `words` of each piece's word; -1 for special tokens and for a second text.

    The first text that was encoded must be `words` joined by single blanks.

    Raises:
      ValueError: a piece is not part of a single word: the text was a different one.
    """
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    located = np.full(len(encoded.tokens), -1, dtype=np.int32)
    for piece, (span, part) in enumerate(zip(encoded.offsets, encoded.parts, strict=True)):
        if span is None or part != 0:
            continue
        word = int(np.searchsorted(ends, span[0]))
        if word == len(words) or not starts[word] <= span[0] <= span[1] <= ends[word]:
            raise ValueError(f"piece {encoded.tokens[piece]!r} at {span} is not inside one word")
        located[piece] = word
    return located
