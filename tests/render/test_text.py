import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render.text import begins, display_width, shorten, words
from diffmask_jax.runtime.messages import visible

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and controls included


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


def grouped(tokens):
    """Words by the spelling of tokens alone."""
    return words(tokens, list(map(begins, tokens)))


def test_words_join_the_pieces_of_a_word():
    assert grouped(["an", "enjoy", "##ab", "##le", "film"]) == [
        [(0, "an")],
        [(1, "enjoy"), (2, "ab"), (3, "le")],
        [(4, "film")],
    ]


def test_words_leave_alone_what_continues_nothing():
    assert grouped(["##ing", "a", "##"]) == [[(0, "##ing")], [(1, "a")], [(2, "##")]]


@given(st.lists(st.sampled_from(["a", "##b", "##", "###", "[CLS]"])))
def test_words_keep_every_token_once_and_in_order(tokens):
    assert [at for word in grouped(tokens) for at, _ in word] == list(range(len(tokens)))


def test_a_token_of_signs_that_begins_a_word_is_whole_where_that_is_known():
    tokens = ["Hello", "###", "World", "##s"]
    assert words(tokens, [True, True, True, False]) == [
        [(0, "Hello")], [(1, "###")], [(2, "World"), (3, "s")]
    ]  # fmt: skip
