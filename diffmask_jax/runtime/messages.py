"""Every message to people: one line on standard error that can do nothing to a terminal.

Names, labels, texts and paths in it may come from a file that somebody sent.
"""

import contextlib
import sys
import unicodedata
from typing import Any

LONGEST = 1200  # characters: a screen of 80 columns holds them beside what was there
JOINERS = "\u200c\u200d"  # invisible, yet Persian, Indic scripts and emoji are misspelt without


def say(line: object) -> None:
    """A message on standard error, above the progress bar if one is drawn."""
    with contextlib.suppress(OSError):  # nobody listens: nothing is left to be done about it
        _write(line_of(line), sys.stderr)


def show(lines: object) -> None:
    """What a command was asked for, on standard output: lines, each as harmless as a message."""
    _write("\n".join(map(visible, str(lines).split("\n"))), sys.stdout)


def line_of(message: object) -> str:
    """A message as `say` writes it: visible, on one line, its middle left out if it is long."""
    text = visible(str(message))
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"


def shows(text: str) -> bool:
    """Whether there is anything to see of a text: not of blanks, nor of a zero-width space.

    A byte of a file's name that is no character (a lone surrogate, to Python) is seen.
    """
    seen = text.encode("utf-8", "replace").decode()
    return any(sign.isprintable() and not sign.isspace() for sign in seen)


def visible(text: str) -> str:
    """The text with every character that could act on a screen replaced by one that only shows.

    ASCII controls become their pictures (ESC -> ␛, newline -> ␊); other controls, text-direction
    overrides, lone surrogates and line separators become U+FFFD.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    unsafe = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "\ufffd" if unsafe and character not in JOINERS else character


def _write(lines: str, stream: Any) -> None:
    if stream is None:  # closed before Python began
        return
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if tqdm is None:  # and so no bar is drawn
        stream.write(lines + "\n")
    else:
        tqdm.write(lines + "\n", file=stream, end="")
