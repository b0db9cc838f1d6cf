"""The tree search finds what a plain enumeration of all subsets finds, and can prove it."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution import prefix_search
from diffmask_jax.attribution.prefix_search import search
from diffmask_jax.attribution.recurrence import Recurrence, Texts, enough_tokens
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import categorical_divergence

H, CLASSES = 6, 3
START = jnp.zeros(H)


def step(params, h, x):
    return jnp.tanh(h @ params["weights"] + x)


def divergence(params, h, original):
    return categorical_divergence(original, h @ params["head"])


NETWORK = Recurrence(step, divergence)


def example(seed: int, number: int, length: int):
    """A random recurrent network on random texts."""
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "weights": jax.random.normal(keys[0], (H, H)) / H**0.5,
        "head": jax.random.normal(keys[1], (H, CLASSES)),
    }
    kept = jax.random.normal(keys[2], (number, length, H))
    dropped = jnp.broadcast_to(0.3 * jax.random.normal(keys[3], (H,)), kept.shape)
    h = jnp.zeros((number, H))
    for t in range(length):
        h = step(params, h, kept[:, t])
    return params, Texts(jnp.stack([dropped, kept], axis=2), h @ params["head"])


def find(params, texts, margin):
    return search(NETWORK, params, START, texts, margin)


def enumerate_all(params, texts, margin: float):
    """Every subset of every text by itself, without a tree: the smallest feasible, and their D."""
    number, length = texts.read.shape[:2]
    subsets = np.array(sorted(itertools.product([0, 1], repeat=length), key=sum))
    for text in range(number):
        h = jnp.zeros((len(subsets), H))
        for t in range(length):
            h = step(params, h, texts.read[text, t][subsets[:, t]])
        original = jnp.broadcast_to(texts.original[text], (len(subsets), CLASSES))
        d = np.asarray(divergence(params, h, original))
        sizes = subsets.sum(1)
        feasible = (d <= margin) | (sizes == length)
        optimal = feasible & (sizes == sizes[feasible].min())
        yield subsets[optimal].astype(bool), d[optimal]


@pytest.mark.parametrize("margin", [0.003, 0.05, 0.5, 5.0])
@pytest.mark.parametrize("length", [1, pytest.param(2, marks=pytest.mark.long), 5, 9])
def test_it_agrees_with_a_plain_enumeration(length, margin):
    setting = example(length, 7, length)
    for found, (kept, divergence) in zip(
        find(*setting, margin), enumerate_all(*setting, margin), strict=True
    ):
        order = divergence.argsort()
        np.testing.assert_allclose(found.divergence, divergence[order], atol=1e-5)
        np.testing.assert_array_equal(found.kept[0], kept[order[0]])
        assert {row.tobytes() for row in found.kept} == {row.tobytes() for row in kept}


@pytest.mark.parametrize("margin", [0.003, 0.05, 0.5])
def test_enough_tokens_are_never_fewer_than_the_optimum(margin):
    params, texts = example(6, 8, 9)
    enough = np.asarray(enough_tokens(NETWORK, params, START, texts, margin))
    optimum = np.array([found.size for found in find(params, texts, margin)])
    assert (enough >= optimum).all() and (enough == optimum).mean() >= 0.5


def test_a_bound_that_rounding_made_too_low_costs_nothing_but_time(monkeypatch):
    """As if the elimination had found a set feasible that the tree does not."""
    setting = example(7, 5, 8)
    expected = find(*setting, 0.02)
    too_low = jnp.array([found.size - 1 for found in expected] + [0] * 11)
    monkeypatch.setattr(prefix_search, "enough_tokens", lambda *_: too_low)
    for ours, theirs in zip(find(*setting, 0.02), expected, strict=True):
        np.testing.assert_array_equal(ours.kept, theirs.kept)
        assert ours.covered == theirs.covered


def test_the_certificate_counts_every_subset_up_to_the_optimum():
    for found in find(*example(3, 5, 10), 0.02):
        assert found.covered == sum(math.comb(10, k) for k in range(found.size + 1))


def test_blocks_that_overflow_change_nothing(monkeypatch):
    setting = example(4, 6, 9)
    whole = find(*setting, 0.02)
    monkeypatch.setattr(prefix_search, "WIDTHS", (4, 8))
    for ours, theirs in zip(find(*setting, 0.02), whole, strict=True):
        np.testing.assert_array_equal(ours.kept, theirs.kept)
        np.testing.assert_allclose(ours.divergence, theirs.divergence, atol=1e-6)
        assert ours.covered == theirs.covered


def test_memory_stays_under_the_stated_limit(monkeypatch):
    """All states alive at once, counted whenever a block of leaves has been computed."""
    length, widths, alive = 12, (4, 8), []
    setting = example(5, 3, length)
    monkeypatch.setattr(prefix_search, "WIDTHS", widths)
    compare = prefix_search._compare
    before = {id(array): array for array in jax.live_arrays()}  # held, that no other gets its id

    def counted(*arguments):
        new = (array for array in jax.live_arrays() if id(array) not in before)
        alive.append(sum(len(array) for array in new if array.shape[1:] == (H,)))
        compare(*arguments)

    monkeypatch.setattr(prefix_search, "_compare", counted)
    find(*setting, 1e-9)  # nothing but the whole text is feasible: all 2^12 subsets are looked at
    assert widths[-1] < max(alive) <= length * 2 * widths[-1]


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_that_is_not_positive_is_refused(margin):
    with pytest.raises(UserError, match="margin must be positive"):
        find(*example(0, 1, 3), margin)


def test_long_texts_are_refused_with_their_cost():
    with pytest.raises(UserError, match=r"2\^26 subsets, 7 minutes of two CPU cores"):
        find(*example(0, 1, 26), 0.1)
