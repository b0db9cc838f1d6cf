"""Sets scored against optima, by hand and by properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffmask_jax.analysis.subsets import (
    overlap_with_first,
    overlap_with_nearest,
    smallest_feasible,
)


def row(text: str) -> np.ndarray:
    return np.array([letter == "x" for letter in text])


def rows(*texts: str) -> np.ndarray:
    return np.stack([row(text) for text in texts])


@pytest.mark.parametrize(
    ("kept", "optimum", "expected"),
    [
        ("xx..", "x...", (0.5, 1, 2 / 3)),
        ("x...", "xxx.", (1, 1 / 3, 0.5)),
        (".x..", "x...", (0, 0, 0)),
        ("....", "....", (1, 1, 1)),
        ("....", "x...", (0, 0, 0)),
        ("x...", "....", (0, 0, 0)),
    ],
)
def test_an_overlap_by_hand(kept, optimum, expected):
    assert overlap_with_first(row(kept), rows(optimum)) == pytest.approx(expected)


def test_the_first_and_the_nearest_differ():
    optima = rows("xx..", ".xx.", "..xx")
    assert overlap_with_first(row("..xx"), optima).f1 == 0
    assert overlap_with_nearest(row("..xx"), optima) == (1, 1, 1)


sets = arrays(bool, 6)


@given(kept=sets, optima=arrays(bool, (4, 6)))
def test_the_nearest_is_no_farther_than_any(kept, optima):
    nearest = overlap_with_nearest(kept, optima)
    each = [overlap_with_first(kept, optimum[None]) for optimum in optima]
    assert nearest.f1 == max(overlap.f1 for overlap in each) and nearest in each


@given(kept=sets, optimum=sets)
def test_swapping_the_sets_swaps_precision_and_recall(kept, optimum):
    one, other = overlap_with_first(kept, optimum[None]), overlap_with_first(optimum, kept[None])
    assert (one.precision, one.recall, one.f1) == (other.recall, other.precision, other.f1)
    assert min(one.precision, one.recall) <= one.f1 <= max(one.precision, one.recall)


def test_the_smallest_feasible_set_wins():
    candidates = np.stack([rows("xxx", "x.."), rows("xx.", ".x."), rows(".xx", "xxx")])
    divergence = np.array([[0.0, 0.9], [0.04, 0.8], [0.03, 0.7]])
    best = smallest_feasible(candidates, divergence, margin=0.05)
    np.testing.assert_array_equal(best, rows(".xx", "xxx"))  # closest of equals; closest of none


@given(st.integers(1, 5))
def test_one_candidate_is_taken_as_it_is(length):
    one = np.ones((1, 2, length), bool)
    np.testing.assert_array_equal(smallest_feasible(one, np.array([[1.0, 0.0]]), 0.1), one[0])
