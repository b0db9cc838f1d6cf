import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render.text import display_width, shorten, visible, words

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and controls included


@given(any_text)
def test_visible_text_can_neither_act_on_a_terminal_nor_fail_to_be_written(text):
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    shown.encode()
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("\x1b[31m", "␛[31m"),
        ("a\nb\x7f", "a␊b␡"),
        ("\x9b31m", "\ufffd31m"),  # the one-byte form of ESC [
        ("\u202eevil", "\ufffdevil"),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("movie", 5),
        ("映画", 4),
        ("e\u0301", 1),
        ("1\u20dd", 1),
        ("ﾊ", 1),
        ("ハ", 2),
        ("\u200d", 0),
    ],
)
def test_display_width(text, width):
    assert display_width(text) == width


@given(any_text, st.integers(1, 12))
def test_shortened_text_fits_and_says_that_it_was_shortened(text, width):
    text = visible(text)
    short = shorten(text, width)
    assert display_width(short) <= width
    assert short == text or (short[-1] == "…" and text.startswith(short[:-1]))


def test_words_join_the_pieces_of_a_word():
    assert words(["an", "enjoy", "##ab", "##le", "film"]) == [
        [(0, "an")],
        [(1, "enjoy"), (2, "ab"), (3, "le")],
        [(4, "film")],
    ]


def test_words_leave_alone_what_continues_nothing():
    assert words(["##ing", "a", "##"]) == [[(0, "##ing")], [(1, "a")], [(2, "##")]]


@given(st.lists(st.sampled_from(["a", "##b", "##", "###", "[CLS]"])))
def test_words_keep_every_token_once_and_in_order(tokens):
    assert [at for word in words(tokens) for at, _ in word] == list(range(len(tokens)))
