"""The output of a command in a terminal of 80 columns, and that screen as a page."""

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from diffmask_jax.errors import UserError

COLUMNS, LINES = 80, 48
_LOOK = re.compile(r"\x1b\[([0-9;]*)m")
_MOVE = re.compile(r"\x1b\[[0-9;?]*[A-HJKhl]")
_PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
body { margin: 0; overflow: hidden; background: #16181d }
pre { color: #d9dce3; font: 14px/1.25 "DejaVu Sans Mono", monospace; margin: 18px 20px; width: 80ch;
  white-space: pre-wrap; overflow-wrap: anywhere; word-break: break-all }
</style><pre>"""


def typed(command: Sequence[str], folder: Path) -> str:
    """Everything that a command, run in a folder, writes to a terminal, escape codes included.

    Raises: UserError if it fails.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        written = b"".join(_read(ours))
        os.close(ours)
    text = written.decode(errors="replace")
    if child.returncode:
        raise UserError(f"{' '.join(command)} ended with {child.returncode}: {text[-1000:]}")
    return text


def page(text: str) -> str:
    """The final screen as a page: of each line, what follows its last carriage return."""
    lines = (line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n"))
    return _PAGE + "".join(_spans(_MOVE.sub("", "\n".join(lines)).strip("\n"))) + "\n</pre>\n"


def _read(terminal: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # no process writes to it any more
        while part := os.read(terminal, 65536):
            yield part


def _spans(text: str) -> Iterator[str]:
    """Spans of one style, which lasts until the next reset, as in a terminal."""
    first, *rest = _LOOK.split(text)
    yield escape(first)
    style = ""
    for codes, run in zip(rest[::2], rest[1::2], strict=True):
        style = (
            "" if codes in ("", "0") else style + _style([int(code) for code in codes.split(";")])
        )
        yield f'<span style="{style}">{escape(run)}</span>' if style else escape(run)


def _style(codes: Sequence[int]) -> str:
    """The CSS of the terminal attributes that `render.terminal` and tqdm use."""
    match codes:
        case []:
            return ""
        case [1, *more]:
            return "font-weight:bold;" + _style(more)
        case [2, *more]:
            return "opacity:.7;" + _style(more)
        case [4, *more]:
            return "text-decoration:underline;" + _style(more)
        case [38 | 48 as place, 2, red, green, blue, *more]:
            of = "color" if place == 38 else "background"
            return f"{of}:rgb({red},{green},{blue});" + _style(more)
        case [_, *more]:
            return _style(more)
    raise AssertionError("a list begins with something or is empty")
