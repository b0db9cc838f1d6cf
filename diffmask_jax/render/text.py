"""Tokens as they are shown: harmless, measured in terminal cells, joined to words."""

import unicodedata
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # invisible, yet Persian, Indic scripts and emoji are misspelt without
_PIECE = "##"


def visible(text: str) -> str:
    """The text with every character that could act on a screen replaced by one that only shows.

    ASCII controls become their pictures (ESC -> ␛, newline -> ␊); other controls, text-direction
    overrides, lone surrogates and line separators become U+FFFD.
    """
    return "".join(map(_visible_character, text))


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


def words(tokens: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Tokens as words, each a list of (position, piece); a piece that continues loses its ##."""
    grouped: list[list[tuple[int, str]]] = []
    for position, token in enumerate(tokens):
        if grouped and token.startswith(_PIECE) and token != _PIECE:
            grouped[-1].append((position, token.removeprefix(_PIECE)))
        else:
            grouped.append([(position, token)])
    return grouped


def _visible_character(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    unsafe = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "\ufffd" if unsafe and character not in _JOINERS else character


def _character_width(character: str) -> int:
    if character in _JOINERS or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
