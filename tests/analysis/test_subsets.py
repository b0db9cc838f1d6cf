"""Sets scored against optima, by hand and by properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from diffmask_jax.analysis.subsets import (
    both_classes,
    is_feasible,
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


def test_both_classes_by_hand():
    """Kept: precision ½, recall 1, F1 ⅔; dropped: 1, ⅔ and ⅘."""
    found = both_classes(row("xx.."), row("x..."))
    assert found == pytest.approx((3 / 4, 5 / 6, (2 / 3 + 4 / 5) / 2))


@given(kept=sets, optimum=sets)
def test_both_classes_do_not_care_which_is_which(kept, optimum):
    assert both_classes(kept, optimum) == pytest.approx(both_classes(~kept, ~optimum))


@given(kept=sets, optimum=sets)
def test_swapping_the_sets_swaps_precision_and_recall(kept, optimum):
    one, other = overlap_with_first(kept, optimum[None]), overlap_with_first(optimum, kept[None])
    assert (one.precision, one.recall, one.f1) == (other.recall, other.precision, other.f1)
    assert min(one.precision, one.recall) <= one.f1 <= max(one.precision, one.recall)


def test_the_smallest_feasible_set_wins():
    candidates = np.stack([rows("xxx", "x.."), rows("xx.", ".x."), rows(".xx", "xxx")])
    divergence = np.array([[0.0, 0.9], [0.04, 0.8], [0.03, 0.7]])
    feasible = divergence <= 0.05
    # Of equally small ones the closest, and where none is feasible the closest of all.
    assert smallest_feasible(candidates, feasible, divergence).tolist() == [2, 2]
    feasible[0, 1] = True
    assert smallest_feasible(candidates, feasible, divergence).tolist() == [2, 0]


def test_keeping_everything_is_feasible():
    divergence = np.array([9.0, 9.0, 0.1])
    feasible = is_feasible(np.array([2, 1, 2]), np.array([2, 2, 3]), divergence, margin=0.1)
    assert feasible.tolist() == [True, False, True]
