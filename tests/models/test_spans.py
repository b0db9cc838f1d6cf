"""The best legal span against all spans, one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.models.spans import LONGEST, best_span


def by_hand(scores, passage, longest: int) -> tuple[int, int]:
    """Every span of pieces of the passage, the earliest and shortest of the best."""
    legal = [
        (i, j)
        for i in range(len(passage))
        for j in range(i, min(i + longest, len(passage)))
        if all(passage[i : j + 1])
    ]
    return max(
        legal, key=lambda span: (scores[span[0], 0] + scores[span[1], 1], -span[0], -span[1])
    )


@st.composite
def questions(draw):
    """Scores, few enough values for ties; passages of one stretch or of several."""
    length = draw(st.integers(1, 12))
    scores = draw(
        st.lists(st.tuples(*[st.sampled_from([-9.0, -1.0, 0.0, 0.5, 2.0])] * 2),
                 min_size=length, max_size=length)
    )  # fmt: skip
    passage = draw(st.lists(st.booleans(), min_size=length, max_size=length).filter(any))
    return np.array(scores), np.array(passage)


@given(questions(), st.integers(1, 14))
def test_it_is_the_best_of_all_legal_spans(question, longest):
    scores, passage = question
    found = best_span(scores, passage, longest)
    assert tuple(found) == by_hand(scores, passage, longest)
    start, end = found
    assert start <= end < start + longest and passage[start : end + 1].all()


@given(st.integers(0, 2**32 - 1))
def test_a_batch_is_its_rows_and_a_shift_says_nothing(seed):
    rng = np.random.default_rng(seed)
    scores, passage = rng.normal(size=(2, 3, 9, 2)), rng.random((2, 3, 9)) < 0.7
    passage[..., 4] = True
    found = best_span(scores, passage)
    assert found.shape == (2, 3, 2)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[place], best_span(scores[place], passage[place]))
    shifted = scores - np.logaddexp.reduce(scores, axis=-2, keepdims=True)  # log-probabilities
    np.testing.assert_array_equal(best_span(shifted, passage), found)


def test_an_answer_has_at_most_thirty_pieces():
    scores = np.zeros((40, 2))
    scores[3, 0], scores[32, 1], scores[33, 1] = 5.0, 2.0, 3.0
    passage = np.ones(40, bool)
    assert tuple(best_span(scores, passage)) == (3, 3 + LONGEST - 1) == (3, 32)
    assert tuple(best_span(scores, passage, 31)) == (3, 33)


def test_a_span_neither_leaves_the_passage_nor_ends_before_it_starts():
    scores = np.zeros((6, 2))
    scores[0], scores[4, 0], scores[2, 1] = 9.0, 5.0, 4.0
    assert tuple(best_span(scores, np.array([0, 0, 1, 1, 1, 0], bool))) == (4, 4)
    # Across a gap it cannot reach.
    scores[2, 0], scores[4, 1], scores[4, 0] = 5.0, 5.0, 0.0
    assert tuple(best_span(scores, np.array([0, 0, 1, 1, 1, 0], bool))) == (2, 4)
    assert tuple(best_span(scores, np.array([0, 0, 1, 0, 1, 0], bool))) == (2, 2)


def test_a_probability_of_zero_can_be_all_there_is():
    with np.errstate(divide="ignore"):
        scores = np.log(np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], np.float32))
    assert tuple(best_span(scores, np.array([False, True, True]))) == (1, 1)


def test_no_passage_no_answer():
    passage = np.array([[True, False], [False, False]])
    with pytest.raises(UserError, match="nothing to answer from"):
        best_span(np.zeros((2, 2, 2)), passage)
