"""The toy task's data: its labels, its distributions and its seed."""

import numpy as np
import pytest

from diffmask_jax.tasks.toy import LONGEST, generate, in_query

N = 20_000
DATA = generate(0, N)
LENGTHS = DATA.valid.sum(1)


def within(share: float, trials: int) -> float:
    """4.5 standard deviations of an observed share."""
    return 4.5 * np.sqrt(share * (1 - share) / trials)


def test_labels_are_counts_by_a_plain_loop():
    for row in range(1000):
        n, m = DATA.query[row].tolist()
        digits = DATA.digits[row, : LENGTHS[row]].tolist()
        assert DATA.label[row] == int(digits.count(n) > digits.count(m))


def test_a_query_is_of_two_different_digits_each_pair_alike():
    assert np.all(DATA.query[:, 0] != DATA.query[:, 1])
    pairs = np.bincount(DATA.query[:, 0] * 10 + DATA.query[:, 1], minlength=100) / N
    assert np.count_nonzero(pairs) == 90
    np.testing.assert_allclose(pairs[pairs > 0], 1 / 90, atol=within(1 / 90, N))


def test_lengths_are_uniform_and_valid_positions_come_first():
    np.testing.assert_array_equal(DATA.valid, np.arange(LONGEST) < LENGTHS[:, None])
    shares = np.bincount(LENGTHS, minlength=LONGEST + 1) / N
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], 0.1, atol=within(0.1, N))


def test_padding_is_zero():
    np.testing.assert_array_equal(DATA.digits[~DATA.valid], 0)


@pytest.mark.parametrize("which", [0, 1])
def test_each_queried_digit_stands_at_a_quarter_of_the_positions(which):
    hits = (DATA.digits == DATA.query[:, [which]])[DATA.valid]
    assert hits.mean() == pytest.approx(0.25, abs=within(0.25, hits.size))


def test_the_other_eight_digits_share_the_other_half():
    """Counted from the query on, each of the eight is seen once in sixteen positions."""
    others = np.array([[d for d in range(10) if d not in query] for query in DATA.query])
    for column in range(8):
        hits = (DATA.digits == others[:, [column]])[DATA.valid]
        assert hits.mean() == pytest.approx(1 / 16, abs=within(1 / 16, hits.size))


def test_positions_are_drawn_independently():
    n = DATA.digits == DATA.query[:, :1]
    both = DATA.valid[:, 1]
    first, second = n[both, 0], n[both, 1]
    assert np.mean(first & second) == pytest.approx(1 / 16, abs=within(1 / 16, both.sum()))


def test_the_seed_makes_the_data():
    again, other = generate(0, N), generate(1, N)
    for field, same, different in zip(DATA, again, other, strict=True):
        np.testing.assert_array_equal(field, same)
        assert not np.array_equal(field, different)


def test_the_ground_truth_marks_the_queried_digits():
    truth = in_query(DATA)
    for row in range(500):
        expected = [
            bool(DATA.valid[row, t]) and DATA.digits[row, t] in DATA.query[row]
            for t in range(LONGEST)
        ]
        assert truth[row].tolist() == expected
    assert not np.any(truth & ~DATA.valid)
