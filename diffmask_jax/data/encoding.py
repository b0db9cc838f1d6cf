"""Texts and pairs -> word pieces: checked, tokenized, truncated or refused."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from diffmask_jax.data.texts import Text, halves_of
from diffmask_jax.data.wordpieces import SEGMENTS, Encoded, Tokenizer, check_length
from diffmask_jax.data.words import Span, Splitting, read_pieces, splitting_of
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.messages import excerpt

LONGEST = 1_000_000
"""The most characters of a text: far more than the longest model reads."""


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
