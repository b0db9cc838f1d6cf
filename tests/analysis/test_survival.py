"""How long words are kept: the layer that lets each go, and names by their mean."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.analysis.survival import by_name, let_go


def test_a_token_is_let_go_behind_the_last_layer_that_keeps_it():
    keep = np.array(
        [
            [0.9, 0.2, 0.9, 0.1, 0.9],
            [0.9, 0.2, 0.3, 0.9, 0.5],
            [0.9, 0.2, 0.1, 0.1, 0.2],
        ]
    )
    assert let_go(keep).tolist() == [3, 0, 1, 2, 1]


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=6))
def test_where_nothing_comes_back_it_is_the_first_layer_that_drops(votes):
    """Products of votes, as masked inputs are gated by."""
    keep = np.cumprod(np.array(votes), axis=0)
    first = [next((n for n, row in enumerate(keep) if row[t] <= 0.5), len(keep)) for t in range(3)]
    assert let_go(keep).tolist() == first


def test_names_stand_by_how_long_they_are_kept_with_their_counts():
    names = ["fun", "the", "fun", "a", "the", "the"]
    texts, layers = [0, 0, 1, 1, 2, 2], [4.0, 1.0, 3.0, 2.0, 0.0, 2.0]
    found = by_name(names, texts, layers)
    assert [(one.name, one.tokens, one.texts, one.mean) for one in found] == [
        ("fun", 2, 2, 3.5), ("a", 1, 1, 2.0), ("the", 3, 2, 1.0)
    ]  # fmt: skip
    assert [math.isnan(one.low) and math.isnan(one.high) for one in found] == [False, True, False]
    assert all(one.low <= one.mean <= one.high for one in found if one.texts > 1)
    assert [one.name for one in by_name(names, texts, layers, least=2)] == ["fun", "the"]


def test_equal_names_stand_in_the_order_of_the_alphabet():
    assert [one.name for one in by_name(["b", "a"], [0, 0], [1.0, 1.0])] == ["a", "b"]


def test_as_many_names_as_values():
    with pytest.raises(ValueError):
        by_name(["a"], [0, 1], [1.0, 2.0])
