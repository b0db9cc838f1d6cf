"""The word pieces of a text or a pair, with their places in the text and their words."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from diffmask_jax.data.texts import Text, halves_of
from diffmask_jax.data.words import Span, Splitting, read_pieces, splitting_of
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.messages import excerpt, shows

LONGEST = 1_000_000
"""The most characters of a text: far more than the longest model reads."""

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


def batch_encode(
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    limit: int | None = None,
    rows: Sequence[str] | None = None,
    *,
    only_second: bool = False,
) -> list[Encoded]:
    """The word pieces of each text or pair, unpadded, by one call of the tokenizer.

    limit: truncate to this many pieces by the tokenizer's own rule, which keeps all special tokens
      and removes pieces from the longer text of a pair.
    rows: how messages refer to each text, such as its line in a file; by default its number.
    only_second: truncate only the second text of a pair, such as a question's passage, and that
      at its end whichever side the tokenizer cuts, so that what is left of it is its beginning.

    Raises:
      UserError: a text is empty, blank, not valid Unicode, longer than `LONGEST` characters, or
        refused by the tokenizer; there are both texts and pairs; the limit leaves no room beside
        the special tokens, or beside a first text that must stay whole.
    """
    if not texts:
        return []
    place = places(len(texts), rows)
    are_pairs = _check(texts, place)
    if limit is not None:
        _check_room(tokenizer, limit, are_pairs)
        if only_second and are_pairs:
            _check_room_for_second(tokenizer, texts, limit, place)
    rule = "only_second" if only_second and are_pairs else "longest_first"
    pieces_of_each = _tokenized(tokenizer, texts, limit, rule)
    splitting = splitting_of(tokenizer)
    has_segments = SEGMENTS in tokenizer.model_input_names
    encoded = []
    for number, (text, pieces) in enumerate(zip(texts, pieces_of_each, strict=True), start=1):
        segments = np.array(pieces.type_ids, np.int32)
        encoded.append(_encoded(text, pieces, segments * has_segments, splitting))
        for part, half in enumerate(halves_of(text)):
            if part not in encoded[-1].parts:
                raise UserError(place(number) + _empty(part, half, are_pairs))
    return encoded


def _tokenized(
    tokenizer: Tokenizer, texts: Sequence[Text], limit: int | None, rule: str, special: bool = True
) -> list[Any]:
    """The tokenizers library's Encoding of each text. rule: which text to truncate to the limit.

    Raises: UserError if the tokenizer refuses a text.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()  # a published tokenizer.json may prescribe padding and truncation
    backend.no_truncation()
    try:
        if limit is not None:
            side = "right" if rule == "only_second" else tokenizer.truncation_side
            backend.enable_truncation(limit, strategy=rule, direction=side)
        found: list[Any] = backend.encode_batch(list(texts), add_special_tokens=special)
        return found
    except Exception as error:  # the Rust library raises bare exceptions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the tokenizer cannot read the texts ({reason})") from error
    finally:
        backend.no_truncation()


def encode_within(
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    limit: int,
    cut: bool,
    rows: Sequence[str] | None = None,
) -> list[Encoded]:
    """The word pieces of each text or pair, at most `limit`; longer ones are truncated or refused.

    rows: as in `batch_encode`.

    Raises:
      UserError: as in `batch_encode`; or, unless `cut`, a text is too long.
    """
    if cut:
        return batch_encode(tokenizer, texts, limit, rows)
    encoded, place = batch_encode(tokenizer, texts, rows=rows), places(len(texts), rows)
    for number, text in enumerate(encoded, start=1):
        try:
            check_length(text, limit)
        except UserError as error:
            raise UserError(place(number) + str(error)) from error
    return encoded


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


def _encoded(
    text: Text, pieces: Any, segments: Int[np.ndarray, " T"], splitting: Splitting
) -> Encoded:
    """One text or pair, from its Encoding of the tokenizers library."""
    tokens, spans, words = pieces.tokens, pieces.offsets, pieces.word_ids
    special = np.array(pieces.special_tokens_mask, bool)
    parts = np.where(special, -1, [part or 0 for part in pieces.sequence_ids]).astype(np.int32)
    offsets: list[Span | None] = [None] * len(tokens)
    shown = list(tokens)
    begins = np.zeros(len(tokens), np.int32)
    for part, half in enumerate(halves_of(text)):
        places = np.flatnonzero(parts == part).tolist()
        own = [(tokens[place], spans[place], words[place]) for place in places]
        for place, span, begin, written in zip(
            places, *read_pieces(half, own, splitting), strict=True
        ):
            offsets[place], begins[place], shown[place] = span, begin, written
    # Values that many texts share are interned: 147 bytes per piece instead of 220.
    return Encoded(
        tokens=tuple(map(sys.intern, tokens)),
        ids=np.array(pieces.ids, np.int32),
        offsets=tuple(offsets),
        words=np.where(parts < 0, -1, np.cumsum(begins) - 1).astype(np.int32),
        segments=segments,
        parts=parts,
        shown=tuple(map(sys.intern, shown)),
    )


def _check(texts: Sequence[Text], place: Callable[[int], str]) -> bool:
    """Whether they are pairs. Raises: UserError if they cannot be encoded."""
    are_pairs = not isinstance(texts[0], str)
    for number, text in enumerate(texts, start=1):
        if isinstance(text, str) == are_pairs:
            raise UserError(
                f"texts and pairs are mixed: text 1 is {'a pair' if are_pairs else 'not a pair'}, "
                f"text {number} is {'not a pair' if are_pairs else 'a pair'}"
            )
        for part, half in enumerate(halves_of(text)):
            if len(half) > LONGEST:
                raise UserError(
                    f"{place(number)}a text of {len(half)} characters is too long, the limit is "
                    f"{LONGEST}: shorten it"
                )
            if not half.isascii() and any("\ud800" <= sign <= "\udfff" for sign in half):
                raise UserError(
                    f"{place(number)}not valid Unicode, is the text UTF-8? {excerpt(half)!r}"
                )
            if not half.strip():
                raise UserError(place(number) + _empty(part, half, are_pairs))
    return are_pairs


def _check_room(tokenizer: Tokenizer, limit: int, are_pairs: bool) -> None:
    special = tokenizer.backend_tokenizer.num_special_tokens_to_add(are_pairs)
    if limit < special + 1 + are_pairs:
        raise UserError(
            f"a limit of {limit} word pieces leaves no room besides the {special} special tokens "
            f"of a {'pair' if are_pairs else 'text'}"
        )


def _check_room_for_second(
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    limit: int,
    place: Callable[[int], str],
) -> None:
    special = tokenizer.backend_tokenizer.num_special_tokens_to_add(True)
    firsts = [text[0] for text in texts]
    whole = _tokenized(tokenizer, firsts, None, "", special=False)
    for number, pieces in enumerate(whole, start=1):
        if special + len(pieces) >= limit:
            raise UserError(
                f"{place(number)}the first text of the pair has {len(pieces)} word pieces, "
                f"which leaves no room for the second within {limit}: shorten it"
            )


def places(count: int, rows: Sequence[str] | None, what: str = "text") -> Callable[[int], str]:
    """(number of a text) -> how a message about it begins.

    It names the row in the file, unless that is the number, too. With rows, the texts may be a
    portion of their file, so their count is left out. what: the word for a text.
    """

    def place(number: int) -> str:
        if rows is not None and rows[number - 1] != str(number):
            return f"row {rows[number - 1]}: "
        if count == 1:
            return ""
        return f"{what} {number}: " if rows is not None else f"{what} {number} of {count}: "

    return place


def _empty(part: int, text: str, is_pair: bool) -> str:
    if is_pair:
        which = f"the {('first', 'second')[part]} text of the pair"
        return f"{which} is empty or blank: {excerpt(text)!r}"
    return f"the text is empty or blank: {excerpt(text)!r}"
