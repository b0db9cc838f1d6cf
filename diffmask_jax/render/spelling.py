"""A text in its own spelling, cut where its tokens are: blanks, capitals and line breaks stay."""

from collections.abc import Sequence
from typing import NamedTuple

Place = tuple[int, int]


class Piece(NamedTuple):
    """What stands before a token and belongs to none, and the token itself.

    special: it is no part of the text, such as [CLS]
    """

    before: str
    text: str
    special: bool


class Spelling(NamedTuple):
    """A text as the pieces of its tokens, and what is behind the last: more than blanks if cut."""

    pieces: tuple[Piece, ...]
    rest: str


def spell(text: str, tokens: Sequence[str], places: Sequence[Place | None]) -> Spelling:
    """The pieces of the tokens of one text, in order.

    tokens: how they are shown; places: the (start, end) of each in the text, None if special.
    A further token of a character that is already there has an empty piece.
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
