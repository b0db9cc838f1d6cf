"""The verdict on synthetic curves: what moves, what is off its margin, what has come to rest."""

import numpy as np
import pytest

from diffmask_jax.training import settled
from diffmask_jax.training.settled import Curves, verdict_on

CALLS, MARGIN = 400, 0.1
T = np.linspace(0, 1, CALLS)


def curves(masked=0.5, divergence=MARGIN, multiplier=3.0, played=1 / 8) -> Curves:
    """Two layers: the given one, and one at rest. Numbers or curves (CALLS,)."""
    rest = np.ones(CALLS)
    pairs = [
        np.stack([values * rest, at_rest * rest], axis=1)
        for values, at_rest in ((masked, 0.5), (divergence, MARGIN), (multiplier, 3.0))
    ]
    of_played = np.full((CALLS, 2), played)
    masked, divergence, multiplier = pairs
    return Curves(of_played, divergence * of_played, masked * of_played, of_played, multiplier)


def test_what_rests_on_its_margin_has_settled():
    verdict = verdict_on(curves(), MARGIN)
    assert verdict.settled.all()
    np.testing.assert_allclose(verdict.masked, 0.5)
    np.testing.assert_allclose(verdict.divergence, MARGIN)
    np.testing.assert_allclose(verdict.multiplier, 3.0)
    assert settled.told(verdict, ("W", "E"), MARGIN) == "settled at every layer"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"masked": 0.3 + 0.2 * T}, "moving"),
        ({"multiplier": 0.5 + 5 * T}, "moving"),
        ({"multiplier": 3 + np.sin(4 * np.pi * T)}, "moving"),  # half a swing a window
        ({"divergence": 1.2 * MARGIN}, "D 1.20 margins"),
        ({"divergence": 0.8 * MARGIN}, "D 0.80 margins"),
        ({"divergence": 1.2 * MARGIN, "multiplier": 0.01}, "D 1.20 margins"),
    ],
)
def test_what_moves_or_is_off_its_margin_has_not_and_the_other_layer_has(what, why):
    verdict = verdict_on(curves(**what), MARGIN)
    assert verdict.settled.tolist() == [False, True]
    assert settled.told(verdict, ("W", "E"), MARGIN) == f"not settled: W ({why})"


@pytest.mark.parametrize(
    ("what", "bound"),
    [
        (lambda moved: {"masked": 0.5 + moved * (T > 0.75)}, settled.MOVED_MASKED),
        (lambda moved: {"multiplier": 3 * np.exp(moved * (T > 0.75))}, settled.MOVED_MULTIPLIER),
        (lambda off: {"divergence": (1 + off) * MARGIN}, settled.OFF_MARGIN),
        (lambda felt: {"divergence": 0.5 * MARGIN, "multiplier": felt / MARGIN}, settled.IDLE),
    ],
)
def test_between_quarters_and_around_the_margin_the_bounds_are_exact(what, bound):
    for size, expected in ((0.99 * bound, True), (1.01 * bound, False)):
        assert verdict_on(curves(**what(size)), MARGIN).settled.tolist() == [expected, True]


def test_a_layer_that_does_not_feel_its_margin_may_lie_below_it():
    """λ ≈ 0, where its ratio says nothing."""
    falling = 0.05 * np.exp(-3 * T)
    assert verdict_on(curves(divergence=0.4 * MARGIN, multiplier=falling), MARGIN).settled.all()


def test_a_slow_drift_settles_once_the_run_is_long_beside_it():
    """Masked share growing with the logarithm of the steps, 1 or 8 points a doubling."""
    steps = np.arange(1, CALLS + 1)
    for points, expected in ((0.01, True), (0.08, False)):
        verdict = verdict_on(curves(masked=0.3 + points * np.log2(steps)), MARGIN)
        assert verdict.settled[0] == expected


def test_noise_of_single_calls_does_not_matter():
    rng = np.random.default_rng(0)
    noisy = curves(
        masked=0.5 + 0.1 * rng.normal(size=CALLS),
        divergence=MARGIN * rng.gamma(1.0, 1.0, CALLS).clip(0, 6),
        multiplier=3 * np.exp(0.1 * rng.normal(size=CALLS)),
    )
    assert verdict_on(noisy, 1.0 * MARGIN).still.all()


def test_what_starts_wild_is_forgotten():
    wild = np.where(T < 0.4, 30.0, 3.0)
    assert verdict_on(curves(multiplier=wild, divergence=wild / 30), MARGIN).on_margin[1]
    assert verdict_on(curves(multiplier=wild), MARGIN).settled.all()


def test_calls_that_played_a_layer_more_count_more():
    given = curves(masked=np.where(np.arange(CALLS) % 2, 0.2, 0.8))
    played = given.played.copy()
    played[1::2] *= 3  # the calls with 0.2
    weighted = given._replace(played=played, masked=given.masked * played / given.played)
    np.testing.assert_allclose(verdict_on(weighted, MARGIN).masked[0], 0.35)


def test_a_run_that_has_just_begun_has_not_settled():
    few = Curves(*(values[: settled.FEWEST - 1] for values in curves()))
    assert not verdict_on(few, MARGIN).settled.any()
    enough = Curves(*(values[: settled.FEWEST] for values in curves()))
    assert verdict_on(enough, MARGIN).settled.all()
    assert not verdict_on(Curves(*(values[:1] for values in few)), MARGIN).settled.any()
