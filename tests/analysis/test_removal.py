"""Faithfulness of orders: closed forms where values add up, all permutations where they do not."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.analysis import removal
from diffmask_jax.analysis.removal import Bounds


def adding(weights):
    """v(S) = Σ_{t∈S} w_t."""
    return lambda left: left @ np.asarray(weights, float)


def any_value(seed: int, tokens: int):
    """A value for every set, drawn at random: nothing of it follows from smaller sets."""
    drawn = np.random.default_rng(seed).random(2**tokens)
    return lambda left: drawn[left @ (2 ** np.arange(tokens))]


def area_by_hand(value, order, tokens: int) -> float:
    """The definition, a removal at a time."""
    left, drops = np.ones(tokens, bool), []
    full = value(left[None])[0]
    for place in order:
        left[place] = False
        drops.append(full - value(left[None])[0])
    return float(np.mean(drops))


REMOVABLE = np.array([False, True, True, True, True, False])


def test_an_order_has_the_removable_tokens_the_most_important_first_and_ties_as_they_stand():
    attribution = np.array([9.0, 0.2, 0.7, 0.2, 0.9, 9.0])
    assert removal.order_of(attribution, REMOVABLE).tolist() == [4, 2, 1, 3]


def test_tokens_leave_one_by_one():
    left = removal.without_first(np.array([2, 0]), 3)
    assert left.tolist() == [[True, True, True], [True, True, False], [False, True, False]]


def test_deyoung_s_two_measures_of_a_text():
    """v(x) = 1.0; the two first are 0.3 and 0.4, the others together 0.3."""
    value, order = adding([0.3, 0.1, 0.4, 0.2]), np.array([2, 0, 3, 1])
    found = removal.measures_of(removal.curves_of(value, order, 4), 2, None)
    assert found.comprehensiveness == pytest.approx(1.0 - 0.3)
    assert found.sufficiency == pytest.approx(1.0 - 0.7)
    assert math.isnan(found.sufficiency_normalised)
    assert math.isnan(found.comprehensiveness_normalised)


@pytest.mark.parametrize(("kept", "expected"), [(0, (1.0, 0.0)), (4, (0.0, 1.0))])
def test_nothing_and_everything_may_be_kept(kept, expected):
    value, order = adding([0.25] * 4), np.arange(4)
    found = removal.measures_of(removal.curves_of(value, order, 4), kept, None)
    assert (found.sufficiency, found.comprehensiveness) == pytest.approx(expected)
    with pytest.raises(ValueError, match="5 of 4 tokens cannot be kept"):
        removal.measures_of(removal.curves_of(value, order, 4), 5, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.randoms())
def test_areas_of_values_that_add_up(weights, random):
    """Σ_j w_{r_j}·(N − j + 1)/N, largest by falling weights and smallest by rising ones."""
    count, order = len(weights), list(range(len(weights)))
    random.shuffle(order)

    def closed(order) -> float:
        return sum(weights[t] * (count - j) / count for j, t in enumerate(order))

    curves = removal.curves_of(adding(weights), np.array(order), count)
    assert removal.area(curves.important_first) == pytest.approx(closed(order))
    assert removal.area(curves.important_last) == pytest.approx(closed(order[::-1]))
    falling = sorted(range(count), key=lambda t: -weights[t])
    bounds = removal.bounds_of(adding(weights), np.ones(count, bool), 1)
    assert bounds == pytest.approx((closed(falling[::-1]), closed(falling)))
    best = removal.measures_of(
        removal.curves_of(adding(weights), np.array(falling), count), 1, bounds
    )
    if bounds.most - bounds.least > 1e-9:
        assert best.comprehensiveness_normalised == pytest.approx(1)
        assert best.sufficiency_normalised == pytest.approx(0)


@given(st.integers(0, 10_000))
def test_a_wide_beam_finds_the_best_and_the_worst_of_all_orders(seed):
    value, places = any_value(seed, 6), np.flatnonzero(REMOVABLE)
    areas = [area_by_hand(value, order, 6) for order in itertools.permutations(places)]
    exact = removal.bounds_of(value, REMOVABLE, width=math.comb(4, 2))
    assert exact == pytest.approx((min(areas), max(areas)))
    narrow = removal.bounds_of(value, REMOVABLE, width=1)
    assert exact.least - 1e-9 <= narrow.least <= narrow.most <= exact.most + 1e-9


@given(st.integers(0, 10_000))
def test_curves_that_were_seen_stay_within_the_bounds(seed):
    value = any_value(seed, 6)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(REMOVABLE))
    curves = removal.curves_of(value, order, 6)
    assert removal.area(curves.important_first) == pytest.approx(area_by_hand(value, order, 6))
    bounds = removal.bounds_of(value, REMOVABLE, 1, [curves])
    found = removal.measures_of(curves, 2, bounds)
    assert -1e-9 <= found.comprehensiveness_normalised <= 1 + 1e-9
    assert -1e-9 <= found.sufficiency_normalised <= 1 + 1e-9


def test_a_text_whose_orders_are_all_alike_is_not_normalised():
    assert math.isnan(removal.normalise(0.5, Bounds(0.5, 0.5)))
    assert removal.normalise(0.5, Bounds(0.25, 0.75)) == 0.5


def test_a_text_of_special_tokens_alone_has_nothing_to_remove():
    value, nothing = adding([0.5, 0.5]), np.zeros(2, bool)
    curves = removal.curves_of(value, removal.order_of(np.ones(2), nothing), 2)
    bounds = removal.bounds_of(value, nothing, 2, [curves])
    assert removal.measures_of(curves, 0, bounds)[:4] == (0, 0, 0, 0)
