"""Texts from Python: whatever holds them in an order is read, anything else is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.data.texts import texts_of
from diffmask_jax.errors import UserError

PAIR = st.tuples(st.text(), st.text())


@given(st.lists(st.text()) | st.lists(PAIR) | st.lists(st.text() | PAIR))
def test_any_ordered_iterable(texts):
    for many in (texts, tuple(texts), (text for text in texts), iter(texts)):
        assert texts_of(many) == texts
    as_lists = [list(text) if isinstance(text, tuple) else text for text in texts]
    assert texts_of(as_lists) == texts


def test_two_texts_and_a_pair():
    assert texts_of(["a", "b"]) == texts_of(("a", "b")) == ["a", "b"]
    assert texts_of([("a", "b")]) == texts_of([["a", "b"]]) == [("a", "b")]
    assert texts_of([]) == []


def test_numpy_arrays_give_plain_str():
    for array in (np.array(["a", "bc"]), np.array(["a", "bc"], object)):
        assert texts_of(array) == ["a", "bc"]
        assert {type(text) for text in texts_of(array)} == {str}
    pairs = texts_of([tuple(np.array(["a", "b"]))])
    assert pairs == [("a", "b")] and type(pairs[0][0]) is str


def test_a_series_in_its_order_whatever_its_index():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["a", "b", "c"], index=[2, 0, 1])
    assert texts_of(series) == ["a", "b", "c"]
    assert texts_of(series.sort_index()) == ["b", "c", "a"]
    with pytest.raises(UserError, match=r"text 2 is (float nan|NAType|None)"):
        texts_of(pandas.Series(["a", None]))
    with pytest.raises(UserError, match="not as DataFrame"):
        texts_of(pandas.DataFrame({"text": ["a"]}))


@pytest.mark.parametrize(
    ("many", "says"),
    [
        ("a text", "pass many texts as a list of texts or of pairs, not as str"),
        (b"bytes", "not as bytes"),
        ({"a": 1}, "not as dict"),
        ({"a"}, "not as set"),
        (3, "not as int 3"),
        (None, "not as None"),
        (np.array([["a", "b"]]), "not as ndarray"),
        (np.array("a"), "not as ndarray"),
        (["a", 3], "text 2 is int 3: a text is a str, a pair is a tuple of two"),
        (["a", None], "text 2 is None"),
        ([float("nan")], "text 1 is float nan"),
        (["a", b"b"], "text 2 is bytes"),
        (["a", {"text": "b"}], "text 2 is dict"),
        ([("a", "b", "c")], "text 1 is a tuple of (str, str, str): a pair is two str"),
        (["a", ["b", None]], "text 2 is a list of (str, None): a pair is two str"),
        ([("a",)], "text 1 is a tuple of (str): a pair is two str"),
        ([tuple("abcdef")], "text 1 is a tuple of (str, str, str, …): a pair is two str"),
        (range(3), "text 1 is int 0"),
    ],
)
def test_anything_else_is_one_line(many, says):
    with pytest.raises(UserError) as refusal:
        texts_of(many)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)
