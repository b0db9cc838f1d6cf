"""A text in its own spelling, split at its tokens, with its blanks, capitals and line breaks."""

from collections.abc import Sequence
from typing import NamedTuple

Place = tuple[int, int]


class Piece(NamedTuple):
    """The text before a token that belongs to none, and the token itself.

    special: whether it is not part of the text, such as [CLS]
    """

    before: str
    text: str
    special: bool


class Spelling(NamedTuple):
    """A text as the pieces of its tokens, and the rest: more than blanks if the text was cut."""

    pieces: tuple[Piece, ...]
    rest: str


def spell(text: str, tokens: Sequence[str], places: Sequence[Place | None]) -> Spelling:
    """The pieces of the tokens of one text, in order.

    tokens: the tokens as they are shown
    places: the (start, end) of each in the text, None if special

    A further token of one character has an empty piece.
    """
    pieces, end = [], 0
    for token, place in zip(tokens, places, strict=True):
        if place is None:
            pieces.append(Piece("", token, special=True))
            continue
        start = max(place[0], end)
        stop = max(place[1], start)
        pieces.append(Piece(text[end:start], text[start:stop], special=False))
        end = stop
    return Spelling(tuple(pieces), text[end:])
