"""Messages to people: lines on standard error that cannot affect a terminal.

The names, labels, texts and paths in a message may come from an untrusted file.
"""

import contextlib
import sys
import unicodedata
from typing import Any

LONGEST = 1200  # characters: they leave room on a screen of 80 columns
QUOTED = 40  # characters of an excerpt
JOINERS = "\u200c\u200d"  # invisible, but needed to spell Persian, Indic scripts and emoji


def say(line: object) -> None:
    """Print a message on standard error, above the progress bar if there is one."""
    with contextlib.suppress(OSError):  # nobody is listening
        _write(line_of(line), sys.stderr)


def show(lines: object) -> None:
    """Print a command's results on standard output, each line as harmless as a message."""
    _write("\n".join(map(visible, str(lines).split("\n"))), sys.stdout)


def line_of(message: object) -> str:
    """A message as `say` prints it: visible, on one line, without its middle if it is long."""
    text = visible(str(message))
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"


def excerpt(text: str) -> str:
    """The beginning of a text that a message quotes."""
    return text if len(text) <= QUOTED else text[:QUOTED] + "…"


def shows(text: str) -> bool:
    """Whether a text has anything visible: more than blanks and zero-width characters.

    Undecodable bytes of a file's name (lone surrogates in Python) count as visible.
    """
    seen = text.encode("utf-8", "replace").decode()
    return any(sign.isprintable() and not sign.isspace() for sign in seen)


def visible(text: str) -> str:
    """The text with every character that could affect a screen replaced by a visible one.

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
    if tqdm is None:  # so that there is no bar either
        stream.write(lines + "\n")
    else:
        tqdm.write(lines + "\n", file=stream, end="")
