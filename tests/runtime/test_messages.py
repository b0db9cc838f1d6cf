"""No message does anything to a terminal, whatever is in it, and none fills the screen."""

import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax import cli
from diffmask_jax.errors import UserError, speaking_to_a_shell
from diffmask_jax.runtime import messages
from diffmask_jax.runtime.messages import LONGEST, line_of, say, show, visible

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and controls included


@given(any_text)
def test_visible_text_can_neither_move_nor_hide_anything(text):
    shown = visible(text)
    assert len(shown) == len(text)
    for character in shown:
        unsafe = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        assert not unsafe or character in messages.JOINERS
    shown.encode()
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, é😀", "plain words, é😀"),
        ("\x1b[31m", "␛[31m"),
        ("a\nb\x7f\0", "a␊b␡␀"),
        ("\x9b31m\ud800", "\ufffd31m\ufffd"),  # the one-byte form of ESC [
        ("\u202eevil", "\ufffdevil"),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


@given(any_text.filter(lambda text: len(text) < 100))
def test_a_message_is_one_line(text):
    with pytest.MonkeyPatch.context() as patch, speaking_to_a_shell():  # which changes no word
        patch.setattr(sys, "stderr", io.StringIO())
        say(UserError(text))
        assert sys.stderr.getvalue() == visible(text) + "\n"


def test_a_long_message_keeps_its_beginning_and_its_end():
    line = line_of("why " + "x" * 100_000 + ": do this")
    assert len(line) < LONGEST + 10 and line.startswith("why xx") and line.endswith("xx: do this")


def test_what_is_asked_for_keeps_its_lines(capsys):
    show("a\nb\x1b[31m")
    assert capsys.readouterr().out == "a\nb␛[31m\n"


def test_nobody_listens(monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    stream = io.StringIO()
    stream.write = full
    monkeypatch.setattr(sys, "stderr", stream)
    say("x")
    monkeypatch.setattr(sys, "stderr", None)
    say("x")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "run\x1b[2J\nx", "text"],
        ["explain", "run", "--colour\x1b[2J\nx"],
        ["train", "texts", "--model", "m\x1b[2J\n", "--out", "o", "--train", "a", "--dev", "b"],
        ["evaluate", "x" * 5000],
        ["\x1b[2J"],
    ],
)
def test_no_argument_reaches_the_terminal_as_it_is(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    try:
        assert cli.main(arguments) == 2
    except SystemExit as end:
        assert end.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("diffmask: ")
    assert "\x1b" not in err and err.count("\n") == 1 and len(err) < LONGEST + 20
