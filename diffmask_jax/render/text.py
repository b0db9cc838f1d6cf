"""Tokens as people see them: their width in terminal cells, and the words that they form."""

import unicodedata
from collections.abc import Sequence

from diffmask_jax.runtime.messages import JOINERS

_PIECE = "##"


def display_width(text: str) -> int:
    """Terminal cells that a `visible` text takes: 2 for East Asian wide, 0 for combining marks."""
    return sum(map(_character_width, text))


def shorten(text: str, width: int) -> str:
    """The text itself if it fits in `width` cells, else its beginning and an ellipsis."""
    if display_width(text) <= width:
        return text
    end, room = 0, width - 1
    while (room := room - _character_width(text[end])) >= 0:
        end += 1
    return text[:end] + "…"


def begins(token: str) -> bool:
    """Whether a token begins a word, by its spelling alone: it is not marked by a leading ##."""
    return not token.startswith(_PIECE) or token == _PIECE


def checked_starts(starts: Sequence[bool] | None, tokens: Sequence[str]) -> tuple[bool, ...]:
    """Which tokens begin words: `starts`, or by default `begins` of each.

    Raises: ValueError if there are not as many as tokens.
    """
    found = tuple(map(begins, tokens) if starts is None else starts)
    if len(found) != len(tokens):
        raise ValueError(f"{len(found)} starts of words for {len(tokens)} tokens")
    return found


def words(tokens: Sequence[str], starts: Sequence[bool]) -> list[list[tuple[int, str]]]:
    """Tokens as words, each a list of (position, piece); a piece that continues loses its ##.

    starts: for each token whether it begins a word, which may itself begin with ##
    """
    grouped: list[list[tuple[int, str]]] = []
    for position, (token, start) in enumerate(zip(tokens, starts, strict=True)):
        if start or not grouped:
            grouped.append([(position, token)])
        else:
            grouped[-1].append((position, token.removeprefix(_PIECE)))
    return grouped


def _character_width(character: str) -> int:
    if character in JOINERS or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
