"""Scores against hand-worked numbers, exact fractions and SciPy."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr

from diffmask_jax.models.scores import (
    accuracy,
    exact_match,
    macro_f1,
    macro_f1_of_labels,
    micro_f1_of_labels,
    overlap_f1,
    pearson,
    root_mean_square,
)

# --- classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], 1),
        ([0, 0], [1, 1], 0),
        # Class 0: TP 1, FP 1, FN 0; class 1: TP 1, FP 0, FN 1.
        ([0, 0, 1], [0, 1, 1], Fraction(2, 3)),
        # Class 2 is only ever predicted, class 3 only ever right: both count, with F1 0.
        ([0, 2, 0], [0, 0, 3], Fraction(1, 3) * Fraction(1, 2)),
        # The classes 0 and 4 alone occur: the three others do not count.
        ([4, 4, 0, 4], [4, 0, 0, 4], (Fraction(2, 3) + Fraction(4, 5)) / 2),
    ],
)
def test_macro_f1_by_hand(prediction, label, expected):
    assert macro_f1(np.array(prediction), np.array(label)) == pytest.approx(float(expected))


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1)


@given(pairs=PAIRS)
def test_macro_f1_is_the_mean_of_harmonic_means(pairs):
    scores = []
    for c in {c for pair in pairs for c in pair}:
        hits = sum(pair == (c, c) for pair in pairs)
        predicted = sum(p == c for p, _ in pairs)
        occurring = sum(label == c for _, label in pairs)
        precision = Fraction(hits, predicted) if predicted else Fraction(0)
        recall = Fraction(hits, occurring) if occurring else Fraction(0)
        sum_of_both = precision + recall
        scores.append(2 * precision * recall / sum_of_both if sum_of_both else Fraction(0))
    prediction, label = np.array(pairs).T
    assert macro_f1(prediction, label) == pytest.approx(float(sum(scores) / len(scores)))


@given(pairs=PAIRS, names=st.permutations(range(5)), seed=st.integers(0, 2**32 - 1))
def test_macro_f1_knows_neither_names_nor_order(pairs, names, seed):
    prediction, label = np.array(pairs).T
    renamed, order = np.array(names), np.random.default_rng(seed).permutation(len(pairs))
    expected = macro_f1(prediction, label)
    assert macro_f1(renamed[prediction][order], renamed[label][order]) == pytest.approx(expected)
    assert macro_f1(label, prediction) == pytest.approx(expected)


def test_accuracy_counts_the_examples_that_are_right_in_every_label():
    assert accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75
    prediction, gold = np.array([[1, 0], [1, 1], [0, 0]]), np.array([[1, 0], [1, 0], [0, 1]])
    assert accuracy(prediction, gold) == pytest.approx(1 / 3)


# --- labels ----------------------------------------------------------------------------------

PREDICTED = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]])
GOLD = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]])


def test_f1_of_labels_by_hand():
    """Label 0: TP 2, FP 1, FN 1; label 1: TP 2, FP 1, FN 0; label 2 never occurs."""
    assert macro_f1_of_labels(PREDICTED, GOLD) == pytest.approx((4 / 6 + 4 / 5) / 2)
    assert micro_f1_of_labels(PREDICTED, GOLD) == pytest.approx(8 / 11)


def test_where_no_label_occurs_nothing_is_missed():
    nothing = np.zeros((3, 2), int)
    assert macro_f1_of_labels(nothing, nothing) == micro_f1_of_labels(nothing, nothing) == 1
    assert macro_f1_of_labels(nothing, nothing + 1) == micro_f1_of_labels(nothing + 1, nothing) == 0


SETS = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=9)


@given(sets=SETS)
def test_f1_of_labels_is_the_mean_and_the_pool_of_those_of_each(sets):
    prediction, gold = np.split(np.array(sets, int), 2, axis=1)
    scores, hits, decided = [], 0, 0
    for p, g in zip(prediction.T.tolist(), gold.T.tolist(), strict=True):
        both = sum(a and b for a, b in zip(p, g, strict=True))
        if sum(p) + sum(g):
            scores.append(Fraction(2 * both, sum(p) + sum(g)))
        hits, decided = hits + 2 * both, decided + sum(p) + sum(g)
    macro = float(sum(scores) / len(scores)) if scores else 1.0
    assert macro_f1_of_labels(prediction, gold) == pytest.approx(macro)
    assert micro_f1_of_labels(prediction, gold) == pytest.approx(hits / decided if decided else 1)


# --- spans -----------------------------------------------------------------------------------


def test_spans_by_hand():
    """2–4 and 3–5 share two of their positions, 6–6 lies apart; an end before its start is none."""
    prediction = np.array([[2, 4], [2, 4], [6, 6], [4, 2]])
    gold = np.array([[2, 4], [3, 5], [2, 4], [2, 4]])
    assert exact_match(prediction, gold) == 1 / 4
    assert overlap_f1(prediction, gold) == pytest.approx((1 + 4 / 6) / 4)


def test_the_best_of_several_annotators_counts():
    gold = np.array([[[2, 4], [3, 5], [3, 3]], [[0, 0], [-1, -1], [-1, -1]]])
    assert exact_match(np.array([[3, 5], [0, 0]]), gold) == 1
    assert exact_match(np.array([[3, 4], [0, 1]]), gold) == 0
    assert overlap_f1(np.array([[3, 4], [0, 1]]), gold) == pytest.approx((4 / 5 + 2 / 3) / 2)


SPANS = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.tuples(SPANS, SPANS.map(sorted)), min_size=1, max_size=5))
def test_f1_of_spans_is_that_of_their_positions(pairs):
    expected = []
    for ours, theirs in pairs:
        p, g = (set(range(start, end + 1)) for start, end in (ours, theirs))
        expected.append(Fraction(2 * len(p & g), len(p) + len(g)))
    prediction, gold = (np.array(spans) for spans in zip(*pairs, strict=True))
    assert overlap_f1(prediction, gold) == pytest.approx(float(sum(expected) / len(expected)))
    right = [tuple(ours) == tuple(theirs) for ours, theirs in pairs]
    assert exact_match(prediction, gold) == pytest.approx(sum(right) / len(right))


# --- numbers ---------------------------------------------------------------------------------


@given(arrays(np.float64, (12, 4), elements=st.integers(-50, 50)))
def test_pearson_is_scipys_averaged_over_outputs(table):
    table += np.arange(12)[:, None] / 8 * [1, -1, 2, 1]  # no output stays constant
    prediction, gold = table[:, :2], table[:, 2:]
    expected = [pearsonr(p, g).statistic for p, g in zip(prediction.T, gold.T, strict=True)]
    assert pearson(prediction, gold) == pytest.approx(np.mean(expected), abs=1e-9)


def test_pearson_knows_neither_unit_nor_origin():
    gold = np.array([[1.0], [4.0], [2.0]])
    assert pearson(3 * gold - 7, gold) == pytest.approx(1)
    assert pearson(-gold, gold) == pytest.approx(-1)
    assert math.isnan(pearson(np.ones((3, 1)), gold))


def test_the_error_is_in_the_outputs_units():
    gold = np.array([[0.0, 10.0], [2.0, 10.0]])
    assert root_mean_square(gold + np.array([3.0, -4.0]), gold) == pytest.approx(math.sqrt(12.5))
    assert root_mean_square(gold, gold) == 0
