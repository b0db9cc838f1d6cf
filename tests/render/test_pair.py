import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.pair import checked_parts, texts
from diffmask_jax.render.stretches import end, middles, stretches


def heatmap_of(tokens, parts):
    values = np.linspace(0, 1, len(tokens))[None]
    return make_heatmap(
        title="t", caption="c", tokens=tokens, rows=["E"], values=values, parts=parts
    )


def comparison_of(tokens, parts):
    panel = Panel("P", "n", ("E",), np.ones((1, len(tokens))))
    return make_comparison(title="t", caption="c", tokens=tokens, panels=[panel], parts=parts)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ([0, 0], [("", range(2))]),
        ([-1, 0, -1], [("", range(3))]),
        ([-1, -1], [("", range(2))]),
        ([0, 1], [("first", range(1)), ("second", range(1, 2))]),
        ([-1, 0, -1, 1, -1], [("first", range(3)), ("second", range(3, 5))]),
        ([-1, 0, 0, -1, -1, 1, 1, -1], [("first", range(5)), ("second", range(5, 8))]),
        ([-1, 1, -1], [("first", range(1)), ("second", range(1, 3))]),
        ([1, 1], [("second", range(2))]),  # an empty text without special tokens has no place
    ],
)
def test_special_tokens_go_with_the_text_before_them(parts, named):
    assert texts(parts) == named


special = st.lists(st.just(-1), max_size=3)
own = st.integers(1, 5)


@given(special, own, special, own, special)
def test_every_token_is_in_one_text_in_order(start, first, middle, second, last):
    parts = [*start, *[0] * first, *middle, *[1] * second, *last]
    (_, one), (_, other) = texts(parts)
    assert [*one, *other] == list(range(len(parts)))
    assert {parts[at] for at in one} <= {0, -1} and {parts[at] for at in other} <= {1, -1}
    assert parts[other.start] == 1


@given(st.integers(1, 9))
def test_no_parts_are_one_text(tokens):
    assert checked_parts(None, tokens) == (0,) * tokens
    assert heatmap_of(["a"] * tokens, None).texts[0][0] == ""


@pytest.mark.parametrize("make", [heatmap_of, comparison_of])
@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "parts have length 0, but there are 3 tokens"),
        ([0, 1], "parts have length 2, but there are 3 tokens"),
        ([0, 1, 1, 1], "parts have length 4, but there are 3 tokens"),
        ([0, 1, 2], r"0, 1 or -1 \(a special token\), not \[0, 1, 2\]"),
        ([0, 1, -2], r"not \[-2, 0, 1\]"),
        ([0, 1, 0], "the second text must follow"),
        ([1, -1, 0], "the second text must follow"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, parts, words):
    with pytest.raises(ValueError, match=words):
        make(["a", "b", "c"], parts)


@pytest.mark.parametrize("make", [heatmap_of, comparison_of])
def test_parts_are_kept(make):
    assert make(["<s>", "a", "</s>", "b"], [-1, 0, -1, 1]).parts == (-1, 0, -1, 1)
    assert make(["a", "b"], None).parts == (0, 0)


def test_each_text_is_a_heatmap_of_its_own():
    heatmap = heatmap_of(["<s>", "a", "</s>", "b", "##c"], [-1, 0, -1, 1, 1])
    (first, one), (second, other) = heatmap.texts
    assert (first, one.tokens, one.parts) == ("first", ("<s>", "a", "</s>"), (-1, 0, -1))
    assert (second, other.tokens, other.parts) == ("second", ("b", "##c"), (1, 1))
    assert one.rows == other.rows == heatmap.rows and one.title == heatmap.title
    np.testing.assert_array_equal(np.hstack([one.values, other.values]), heatmap.values)


def test_the_cells_of_two_texts_stand_apart():
    placed = stretches([0, -1, 1], before=0.5, between=2.0)
    assert [text.borders.tolist() for text in placed] == [[0.5, 1.5, 2.5], [4.5, 5.5]]
    assert middles(placed) == [1.0, 2.0, 5.0] and end(placed) == 5.5
    alone = stretches([0, -1, 0], before=0.5, between=2.0)
    assert middles(alone) == [0.5, 1.5, 2.5] and end(alone) == 3.0
