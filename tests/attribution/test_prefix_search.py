"""The tree search finds what a plain enumeration of all subsets finds, and can prove it."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution import prefix_search
from diffmask_jax.attribution.prefix_search import Recurrence, search
from diffmask_jax.errors import UserError

H, CLASSES = 6, 3


def network(seed: int, texts: int, length: int, scale: float = 1.0) -> Recurrence:
    """A random recurrent network on random texts; `read` holds inputs, dropped and kept."""
    keys = jax.random.split(jax.random.key(seed), 5)
    weights = scale * jax.random.normal(keys[0], (H, H)) / H**0.5
    head = jax.random.normal(keys[1], (H, CLASSES))
    kept = jax.random.normal(keys[2], (texts, length, H))
    dropped = jnp.broadcast_to(0.3 * jax.random.normal(keys[3], (H,)), kept.shape)
    start = jnp.zeros(H)

    def step(h, x):
        return jnp.tanh(h @ weights + x)

    h = jnp.zeros((texts, H))
    for t in range(length):
        h = step(h, kept[:, t])
    original = jax.nn.log_softmax(h @ head)

    def divergence(h, text):
        p = original[text]
        return jnp.sum(jnp.exp(p) * (p - jax.nn.log_softmax(h @ head)), axis=-1)

    return Recurrence(step, divergence, jnp.stack([dropped, kept], axis=2), start)


def enumerate_all(net: Recurrence, margin: float):
    """Every subset of every text by itself, without a tree."""
    texts, length = net.read.shape[:2]
    subsets = np.array(sorted(itertools.product([0, 1], repeat=length), key=sum))
    found = []
    for text in range(texts):
        h = jnp.broadcast_to(net.start, (len(subsets), H))
        for t in range(length):
            h = net.step(h, net.read[text, t][subsets[:, t]])
        d = np.asarray(net.divergence(h, np.full(len(subsets), text)))
        sizes = subsets.sum(1)
        feasible = (d <= margin) | (sizes == length)
        size = sizes[feasible].min()
        optimal = feasible & (sizes == size)
        best = np.flatnonzero(optimal)[d[optimal].argmin()]
        found.append((size, optimal.sum(), d[best], subsets[best].astype(bool)))
    return found


@pytest.mark.parametrize("margin", [0.003, 0.05, 0.5, 5.0])
@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_it_agrees_with_a_plain_enumeration(length, margin):
    net = network(length, 7, length)
    result = search(net, margin)
    for text, (size, optima, divergence, kept) in enumerate(enumerate_all(net, margin)):
        assert (result.size[text], result.optima[text]) == (size, optima)
        np.testing.assert_allclose(result.divergence[text], divergence, atol=1e-5)
        np.testing.assert_array_equal(result.kept[text], kept)


def test_the_certificate_counts_every_subset_up_to_the_optimum():
    result = search(network(3, 5, 10), 0.02)
    for size, covered in zip(result.size, result.covered, strict=True):
        assert covered == sum(math.comb(10, k) for k in range(size + 1))


def test_blocks_that_overflow_change_nothing(monkeypatch):
    net = network(4, 6, 9)
    whole = search(net, 0.02)
    monkeypatch.setattr(prefix_search, "WIDTHS", (4, 8))
    for ours, theirs in zip(search(net, 0.02), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_progress_ends_with_every_text_settled():
    seen = []
    search(network(5, 4, 8), 0.02, report=seen.append)
    assert seen == sorted(seen) and seen[-1] == 4


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_that_is_not_positive_is_refused(margin):
    with pytest.raises(UserError, match="margin must be positive"):
        search(network(0, 1, 3), margin)


def test_long_texts_are_refused_with_their_cost():
    with pytest.raises(UserError, match=r"2\^26, 7e\+07, subsets: the limit is 25"):
        search(network(0, 1, 26), 0.1)
