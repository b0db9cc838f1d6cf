"""Changes of F1 and accuracy, and their intervals: whole scores, counts by hand, and scipy."""

import numpy as np
import pytest
from scipy import stats

from diffmask_jax.analysis import bootstrap
from diffmask_jax.models import scores

C, N = 5, 400
RNG = np.random.default_rng(0)
GOLD = RNG.integers(0, C, N)
ORIGINAL = np.where(RNG.random(N) < 0.5, GOLD, RNG.integers(0, C, N))
MASKED = np.where(RNG.random((3, N)) < 0.8, ORIGINAL, RNG.integers(0, C, (3, N)))


def test_the_scores_are_those_of_the_whole_set():
    f1 = bootstrap.change(bootstrap.macro_f1, ORIGINAL, MASKED, GOLD, C)
    assert f1.before == pytest.approx(scores.macro_f1(ORIGINAL, GOLD))
    assert f1.after == pytest.approx(np.mean([scores.macro_f1(row, GOLD) for row in MASKED]))
    right = bootstrap.change(bootstrap.accuracy, ORIGINAL, MASKED, GOLD, C)
    assert right.before == pytest.approx(scores.accuracy(ORIGINAL, GOLD))
    assert right.change == pytest.approx(np.mean(MASKED == GOLD) - right.before)


def test_a_class_that_gold_labels_lack_counts_as_0():
    """By hand: class 0 has TP 1, FN 1, class 1 has FP 1 only, of three classes."""
    confusion = np.array([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]])
    assert bootstrap.macro_f1(confusion).item() == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_classes_count_up_to_the_highest_that_occurs():
    """By hand, of four classes: the third is predicted, never gold; then only the first occurs."""
    confusions = np.zeros((2, 4, 4))
    confusions[0, 0, [0, 2]] = 2.0, 1.0
    confusions[1, 0, 0] = 3.0
    np.testing.assert_allclose(bootstrap.macro_f1_to_highest(confusions), [4 / 5 / 3, 1.0])
    np.testing.assert_allclose(bootstrap.macro_f1(confusions), [4 / 5 / 4, 1 / 4])


def test_groups_are_scored_by_themselves_and_averaged():
    groups = np.split(np.arange(N), [100, 250])
    found = bootstrap.change(bootstrap.macro_f1, ORIGINAL, MASKED, GOLD, C, groups)
    each = [scores.macro_f1(ORIGINAL[group], GOLD[group]) for group in groups]
    assert found.before == pytest.approx(np.mean(each))


def test_the_interval_is_scipy_s():
    """The same percentiles of the change of accuracy, up to the noise of 2000 resamples."""
    found = bootstrap.change(bootstrap.accuracy, ORIGINAL, MASKED[:1], GOLD, C)
    difference = (MASKED[0] == GOLD).astype(float) - (ORIGINAL == GOLD)
    theirs = stats.bootstrap(
        (difference,), np.mean, n_resamples=5000, method="percentile", random_state=1
    ).confidence_interval
    np.testing.assert_allclose([found.low, found.high], theirs, atol=0.006)
    assert found.high < 0 and not found.may_be_no_loss


def test_nothing_changed_is_an_interval_of_nothing():
    same = bootstrap.change(bootstrap.macro_f1, ORIGINAL, np.stack([ORIGINAL] * 2), GOLD, C)
    assert same.change == same.low == same.high == 0 and same.may_be_no_loss


def test_the_interval_of_a_mean_is_scipy_s():
    """Of values that come several an example, up to the noise of 2000 resamples."""
    counts = RNG.integers(1, 6, 300).astype(float)
    sums = counts * RNG.normal(2, 1, 300) + RNG.normal(size=300)
    found = bootstrap.mean_interval(sums, counts)
    theirs = stats.bootstrap(
        (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True,
        vectorized=True, method="percentile", n_resamples=5000, rng=0,
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert found.mean == pytest.approx(sums.sum() / counts.sum())
    assert found.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_values_of_a_group_are_drawn_together():
    """Nine equal values each of ten groups tell no more than ten values; alone, they would."""
    of_groups = RNG.normal(size=(10, 2))
    values, groups = np.repeat(of_groups, 9, axis=0), np.repeat(list("abcdefghij"), 9).tolist()
    found, expected = bootstrap.grouped_interval(values, groups), bootstrap.mean_interval(of_groups)
    np.testing.assert_allclose(np.array(found), np.array(expected))
    alone = bootstrap.mean_interval(values)
    assert (found.high - found.low > 2 * (alone.high - alone.low)).all()
    uneven = bootstrap.grouped_interval(np.array([1.0, 1.0, 4.0]), ["a", "a", "b"])
    assert uneven.mean == 2.0 and (uneven.low, uneven.high) == (1.0, 4.0)


def test_means_of_several_columns_are_those_of_each():
    columns = RNG.random((50, 3))
    together = np.array(bootstrap.mean_interval(columns))
    alone = [np.array(bootstrap.mean_interval(column)) for column in columns.T]
    np.testing.assert_allclose(together, np.stack(alone, axis=1))


def test_it_does_not_matter_how_many_resamples_are_drawn_at_once(monkeypatch):
    """Nor whether they are kept: of a million examples they would take gigabytes."""
    sums, counts = RNG.random((9, 2)), RNG.integers(0, 3, (9, 2)) * 1.0

    def found():
        mean = bootstrap.mean_interval(sums, counts)
        return *mean, bootstrap.change(bootstrap.accuracy, ORIGINAL, ORIGINAL[None, ::-1], GOLD, C)

    expected = found()
    monkeypatch.setattr(bootstrap, "FEW", 8)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 1000)
    for ours, theirs in zip(found(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_what_never_varies_has_an_interval_without_width():
    assert bootstrap.mean_interval(np.full(9, 0.5)) == (0.5, 0.5, 0.5)


def test_a_single_example_has_a_mean_without_an_interval():
    columns = np.array([[1.0, 3.0], [2.0, 0.0]]), np.array([[1.0, 4.0], [1.0, 0.0]])
    found = bootstrap.mean_interval(*columns)
    np.testing.assert_array_equal(found.mean, [1.5, 0.75])
    np.testing.assert_array_equal(np.isnan(found.low), [False, True])
    np.testing.assert_array_equal(np.isnan(found.high), [False, True])
    assert (found.low[0], found.high[0]) == (1, 2)


@pytest.mark.parametrize("size", [6, 10, 30])
def test_intervals_of_few_examples_hold_the_mean_as_often_as_they_say(size):
    """The 2.5th and the 97.5th percentile do in 86%, 91% and 94% of cases."""
    draws = np.random.default_rng(size).normal(size=(size, 4000))
    found = bootstrap.mean_interval(draws)
    held = np.mean((found.low <= 0) & (found.high >= 0))
    assert held == pytest.approx(0.95, abs=0.03)


def test_a_mean_of_nothing_is_refused():
    for sums, counts in [(np.zeros(0), None), (np.zeros(3), np.zeros(3))]:
        with pytest.raises(ValueError, match="nothing to take a mean of"):
            bootstrap.mean_interval(sums, counts)
