"""The pieces of one text: their places without blanks, where words begin, how people write them.

Tokenizers differ: BERT's splits words at blanks and at each punctuation mark; SentencePiece splits
only at blanks, for which it has pieces; byte-level ones split a character into several pieces, and
words at the vowel signs of Indic scripts; some drop accents. Here, as far as the pieces allow, a
word is the same for all tokenizers, and consists of whole characters as people see them, letters
with all their marks (UAX #29).
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import regex

Span = tuple[int, int]

# Unicode's White_Space, as in the tokenizers library; str.isspace has four characters more.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_BLANK = re.compile(f"[{BLANKS}]")
_CHARACTER = regex.compile(r"\X")
_BLANK_TOKENS = "▁Ġ"  # how vocabularies spell a blank
_JOINERS = "\u200c\u200d"

BLANK_PIECE = "␣"
"""How a piece of blanks alone is shown."""
CONTINUED = "##"
"""The prefix of a shown piece that continues the word of the piece before."""
SAME_CHARACTER = "##·"
"""How a further piece of one character is shown."""


class Splitting(NamedTuple):
    """Where a tokenizer itself begins new words, besides at blanks."""

    at_punctuation: bool
    at_vowel_signs: bool


class Pieces(NamedTuple):
    """The pieces of one text.

    Attributes:
      spans: the (start, end) of each piece in the text, without blanks around it, and including
        marks of its last letter that have no piece; empty, and beside the word it belongs to, for a
        piece of blanks alone.
      begins: whether a word begins with the piece.
      shown: the piece as people write it.
    """

    spans: list[Span]
    begins: list[bool]
    shown: list[str]


def splitting_of(tokenizer: Any) -> Splitting:
    """Found by trying, since nothing else says what a published tokenizer.json does."""
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    if splitter is None:
        return Splitting(at_punctuation=False, at_vowel_signs=False)
    return Splitting(
        at_punctuation=len(splitter.pre_tokenize_str("a,b")) > 1,
        at_vowel_signs=len(splitter.pre_tokenize_str("\u0915\u093f")) > 1,
    )


def read_pieces(
    text: str, tokenized: Sequence[tuple[str, Span, int | None]], splitting: Splitting
) -> Pieces:
    """The pieces of a text, from the tokenizer's (token, span, word) of each."""
    pieces = Pieces([], [], [])
    last: Span | None = None  # of the last piece that is more than blanks
    last_word: int | None = None
    blanks = 0  # pieces of blanks alone since then
    raw_spans = [_without_blanks(text, token, span) for token, span, _ in tokenized]
    for span, (_, _, word) in zip(_with_marks(text, raw_spans), tokenized, strict=True):
        if span is None:
            blanks += 1
            continue
        begins = last is None or _begins_word(text, last, span, word == last_word, splitting)
        _add_blanks(pieces, blanks, span[0], begins)
        written = text[span[0] : span[1]]
        continued = SAME_CHARACTER if span == last else CONTINUED + written
        pieces.spans.append(span)
        pieces.begins.append(begins and not blanks)
        pieces.shown.append(written if begins else continued)
        last, last_word, blanks = span, word, 0
    _add_blanks(pieces, blanks, last[1] if last else 0, last is None)
    return pieces


def _add_blanks(pieces: Pieces, count: int, place: int, begin: bool) -> None:
    """Add pieces of blanks alone, which belong to the next word or, at the end, to the last."""
    pieces.spans.extend([(place, place)] * count)
    pieces.begins.extend([begin, *[False] * (count - 1)][:count])
    pieces.shown.extend([BLANK_PIECE] * count)


def _without_blanks(text: str, token: str, span: Span) -> Span | None:
    """The span without blanks around it; None if it is all blanks."""
    start, end = span
    piece = text[start:end]
    # SentencePiece puts a blank before a text, and maps it to the first character.
    if token and not token.strip(_BLANK_TOKENS) and piece[:1] != token[0]:
        return None
    stripped = piece.strip(BLANKS)
    if len(stripped) == len(piece) > 0:
        return span
    start += len(piece) - len(piece.lstrip(BLANKS))
    return (start, start + len(stripped)) if stripped else None


def _with_marks(text: str, spans: Sequence[Span | None]) -> list[Span | None]:
    """Each span, extended to the end of its last character or to the start of the next span."""
    extended = list(spans)
    limit, after = len(text), None
    for place in reversed(range(len(spans))):
        span = spans[place]
        if span is not None:
            limit = limit if after is None or span == after else after[0]
            extended[place] = span[0], _end_of_character(text, span, limit)
            after = span
    return extended


def _end_of_character(text: str, span: Span, limit: int) -> int:
    """The end of the character in which a span ends, but at most the limit."""
    start, end = span
    if end >= limit or text[end].isascii() or text[end] in BLANKS:
        return end
    characters = _CHARACTER.finditer(text, start, limit)
    return next((one.end() for one in characters if one.end() >= end), end)


def _begins_word(
    text: str, before: Span, span: Span, same_word: bool, splitting: Splitting
) -> bool:
    """Whether a new word begins at `span`, after the piece at `before`."""
    start, end = span[0], before[1]
    if start < end:  # another piece of the same character
        return False
    if same_word and splitting.at_punctuation:
        return False
    if start == end and _end_of_character(text, before, start + 1) > start:
        return False
    if start > end and _BLANK.search(text, end, start):
        return True
    if same_word:
        return is_punctuation(text[end - 1]) or is_punctuation(text[start])
    return not (splitting.at_vowel_signs and _is_joined(text[start - 1], text[start]))


def _is_joined(before: str, after: str) -> bool:
    """Whether one of two characters is a mark or a joiner in the script of the other."""
    kinds = [
        "M" if character in _JOINERS else unicodedata.category(character)[0]
        for character in (before, after)
    ]
    return "M" in kinds and set(kinds) <= {"L", "M", "N"}


def is_punctuation(character: str) -> bool:
    """Punctuation as BERT defines it: Unicode's, and all ASCII signs such as + and $."""
    is_ascii_sign = "!" <= character <= "~" and not character.isalnum()
    return is_ascii_sign or unicodedata.category(character)[0] == "P"
