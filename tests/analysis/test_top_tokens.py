"""Shares of the most attributed tokens, by hand and as the mean over all orders of equals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.analysis.top_tokens import (
    places,
    shares_by_chance,
    top_shares,
)

PARTS = np.array([-1, 0, 0, -1, 1, 1, 1, -1])  # [CLS] q q [SEP] p p p [SEP]
ANSWER = (5, 5)


def test_by_hand():
    attribution = np.array([9, 3, 1, 9, 0, 2, 0, 9.0])
    for count, expected in ((1, (1, 0, 0)), (2, (0.5, 0.5, 0)), (4, (0.5, 0.25, 0.25))):
        found = top_shares(attribution, PARTS, ANSWER, count)
        assert found[:3] == expected
        assert (found.question_precision, found.answer_precision) == (0.5, 0)  # of 2 and of 1
    chance = shares_by_chance(PARTS, ANSWER)
    assert chance[:3] == top_shares(attribution, PARTS, ANSWER, 99)[:3]
    assert chance == (0.4, 0.2, 0.4, 0.4, 0.2)


@pytest.mark.parametrize("answer", [(5, 5), (4, 6)])
def test_what_puts_the_answer_first_has_its_precision_however_short_the_answer(answer):
    """The share among ten top tokens of an answer of one is a tenth at most; its precision is 1."""
    parts = np.array([-1, *[0] * 9, -1, *[1] * 9, -1])
    first, last = (at + 8 for at in answer)
    attribution = np.arange(len(parts), dtype=float)
    attribution[first : last + 1] += 99
    found = top_shares(attribution, parts, (first, last), 10)
    assert found.answer == pytest.approx((last - first + 1) / 10)
    assert found.answer_precision == 1


def test_an_answer_is_of_the_passage_alone():
    question, answer, rest = places(PARTS, (1, 4))
    assert question.tolist() == (PARTS == 0).tolist()
    assert np.flatnonzero(answer).tolist() == [4] and np.flatnonzero(rest).tolist() == [5, 6]


@pytest.mark.parametrize("parts", [[-1, -1], [0, -1], [-1, 1, 1]])
def test_without_a_question_or_an_answer_there_is_nothing_to_count(parts):
    with pytest.raises(ValueError, match="no token belongs to the question, or to the answer"):
        top_shares(np.ones(len(parts)), np.array(parts), (0, 0), 1)


@given(st.lists(st.integers(0, 2), min_size=5, max_size=5), st.integers(1, 5))
def test_equals_share_their_seats(values, count):
    attribution = np.full(8, 7.0)
    attribution[PARTS >= 0] = values
    own = np.flatnonzero(PARTS >= 0)
    found = []
    for order in itertools.permutations(own.tolist()):
        top = sorted(order, key=lambda at: -attribution[at])[:count]  # stable
        found.append([sum(place[top]) / count for place in places(PARTS, ANSWER)])
    expected = np.mean(found, axis=0)
    shares = top_shares(attribution, PARTS, ANSWER, count)
    np.testing.assert_allclose(shares[:3], expected, atol=1e-12)
    assert sum(shares[:3]) == pytest.approx(1)
    # An R-precision is the share of a place among as many top tokens as it has.
    for precision, place in (("question_precision", 0), ("answer_precision", 1)):
        size = int(places(PARTS, ANSWER)[place].sum())
        of_size = top_shares(attribution, PARTS, ANSWER, size)[place]
        assert getattr(shares, precision) == pytest.approx(of_size)
