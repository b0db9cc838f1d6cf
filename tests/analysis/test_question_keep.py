"""Figure 7's curves, by hand and by the plainest loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from diffmask_jax.analysis.question_keep import (
    gold_keep,
    is_right,
    kept_curves,
    question_minus_passage,
    separators_keep,
)

# [CLS] q q [SEP] p p p [SEP], two layers.
PARTS = np.array([-1, 0, 0, -1, 1, 1, 1, -1])
KEEP = np.array(
    [[0.1, 1.0, 0.8, 1.0, 0.3, 0.6, 0.0, 0.5], [0.2, 0.4, 0.6, 0.9, 0.0, 0.2, 0.4, 0.7]]
)


def test_by_hand():
    np.testing.assert_allclose(gold_keep(KEEP, [(4, 6), (5, 5)]), [0.6, 0.2])
    np.testing.assert_allclose(gold_keep(KEEP, [(4, 5)]), [0.45, 0.1])
    curves = kept_curves(
        [KEEP, KEEP], [PARTS] * 2, [[(4, 5)], [(5, 5)]], np.array([[4, 5], [5, 6]])
    )
    np.testing.assert_allclose(curves.question, [0.9, 0.5])
    np.testing.assert_allclose(curves.passage, [0.3, 0.2])
    np.testing.assert_allclose(curves.gold, [(0.45 + 0.6) / 2, (0.1 + 0.2) / 2])
    np.testing.assert_allclose(curves.gold_when_wrong, [0.6, 0.2])
    assert curves.wrong == 1
    np.testing.assert_allclose(separators_keep([KEEP], [PARTS]), [0.75, 0.8])


def test_an_answer_is_right_if_both_ends_are():
    spans = [(3, 4), (7, 7)]
    assert is_right(np.array([3, 4]), spans) and is_right(np.array([7, 7]), spans)
    for wrong in ([3, 7], [4, 3], [0, 0]):
        assert not is_right(np.array(wrong), spans)
    assert not is_right(np.array([3, 4]), [])


def test_questions_without_a_gold_answer_count_only_where_none_is_asked_for():
    none, one = [], [(4, 5)]
    curves = kept_curves([KEEP, KEEP], [PARTS] * 2, [none, one], np.array([[0, 0], [4, 5]]))
    assert curves.wrong == 0 and np.isnan(curves.gold_when_wrong).all()
    np.testing.assert_allclose(curves.gold, gold_keep(KEEP, one))
    with pytest.raises(ValueError, match="no gold span"):
        gold_keep(KEEP, none)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        kept_curves([KEEP], [PARTS] * 2, [one], np.array([[4, 5]]))


@given(st.integers(0, 2**32 - 1))
def test_the_difference_is_scipy_s(seed):
    rng = np.random.default_rng(seed)
    keep, parts = [], []
    for _ in range(6):
        question, passage = rng.integers(1, 5, 2)
        parts.append(np.array([-1, *[0] * question, -1, *[1] * passage, -1]))
        keep.append(rng.random((3, len(parts[-1]))))
    found = question_minus_passage(keep, parts, range(6))
    each = [
        values[:, texts == 0].mean() - values[:, texts == 1].mean()
        for values, texts in zip(keep, parts, strict=True)
    ]
    assert found.mean == pytest.approx(np.mean(each)) and found.sentences == 6
    assert found.p_value == pytest.approx(wilcoxon(each, alternative="greater").pvalue)
    together = question_minus_passage(keep, parts, ["a", "a", "b", "b", "c", "c"])
    assert together.mean == pytest.approx(found.mean)
    assert (together.sentences, together.sources) == (6, 3)
    of_passages = np.reshape(each, (3, 2)).mean(axis=1)
    assert together.p_value == wilcoxon(of_passages, alternative="greater").pvalue


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_gold_is_the_largest_of_all_spans(seed, count):
    rng = np.random.default_rng(seed)
    keep = rng.random((2, 9))
    spans = [tuple(sorted(rng.integers(0, 9, 2).tolist())) for _ in range(count)]
    expected = [max((row[a] + row[b]) / 2 for a, b in spans) for row in keep]
    np.testing.assert_allclose(gold_keep(keep, spans), expected)
