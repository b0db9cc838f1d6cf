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
    assert top_shares(attribution, PARTS, ANSWER, 1) == (1, 0, 0)
    assert top_shares(attribution, PARTS, ANSWER, 2) == (0.5, 0.5, 0)
    assert top_shares(attribution, PARTS, ANSWER, 4) == (0.5, 0.25, 0.25)
    assert shares_by_chance(PARTS, ANSWER) == top_shares(attribution, PARTS, ANSWER, 99)
    assert shares_by_chance(PARTS, ANSWER) == (0.4, 0.2, 0.4)


def test_an_answer_is_of_the_passage_alone():
    question, answer, rest = places(PARTS, (1, 4))
    assert question.tolist() == (PARTS == 0).tolist()
    assert np.flatnonzero(answer).tolist() == [4] and np.flatnonzero(rest).tolist() == [5, 6]


def test_nothing_but_special_tokens_has_no_top():
    with pytest.raises(ValueError, match="no token belongs to the question"):
        top_shares(np.ones(2), np.array([-1, -1]), (0, 0), 1)


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
    np.testing.assert_allclose(top_shares(attribution, PARTS, ANSWER, count), expected, atol=1e-12)
    assert sum(top_shares(attribution, PARTS, ANSWER, count)) == pytest.approx(1)
