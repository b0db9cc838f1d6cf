"""Exact erasure against a plain search in NumPy, and leaving one out against a plain loop."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from diffmask_jax.attribution.erasure import exact_erasure, leave_one_out
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import categorical_divergence

B, T, D = 6, 5, 3
LENGTHS = (5, 5, 4, 3, 2, 1)
VALID = jnp.arange(T) < jnp.array(LENGTHS)[:, None]
BASELINE = jnp.array([0.3, -0.2, 0.1])
SEEDS = range(8)


def problem(seed: int):
    """A state, and the two matrices of a small classifier that mixes its positions."""
    rng = np.random.default_rng(seed)
    shapes = (B, T, D), (D, 4), (4, 3)
    scales = 1.0, 1.5, rng.uniform(0.3, 3)
    return [s * rng.normal(size=n).astype(np.float32) for s, n in zip(scales, shapes, strict=True)]


def logits_of(state, inner, outer, valid):
    """The same in NumPy and in JAX: the mean over valid positions of tanh(h·W)²·V."""
    hidden = np.tanh(state @ inner) if isinstance(state, np.ndarray) else jnp.tanh(state @ inner)
    return ((hidden**2 + hidden) * valid[..., None]).sum(1) / valid.sum(1, keepdims=True) @ outer


def divergence_to(state, inner, outer):
    def divergence(other):
        original = logits_of(state, inner, outer, VALID)
        return categorical_divergence(original, logits_of(other, inner, outer, VALID))

    return divergence


@functools.partial(jax.jit, static_argnames=("margin", "smallest"))
def search(state, inner, outer, margin: float, smallest: int = 0):
    divergence = divergence_to(state, inner, outer)
    return exact_erasure(divergence, state, VALID, BASELINE, margin, smallest)


def divergences_of_all_subsets(state, inner, outer, length: int) -> dict[tuple[int, ...], float]:
    """Kept positions -> divergence, one example of `length` tokens, in float64."""
    state, inner, outer = (np.float64(array) for array in (state[None, :length], inner, outer))
    valid = np.ones((1, length))
    p = softmax(logits_of(state, inner, outer, valid)[0])
    found = {}
    for size in range(length + 1):
        for kept in itertools.combinations(range(length), size):
            masked = np.where(np.isin(np.arange(length), kept)[:, None], state, BASELINE)
            found[kept] = rel_entr(p, softmax(logits_of(masked, inner, outer, valid)[0])).sum()
    return found


@pytest.mark.parametrize(("margin", "smallest"), [(0.02, 0), (0.2, 1)])
def test_the_search_finds_what_a_plain_search_finds(margin, smallest):
    sizes = []
    for seed in SEEDS:
        state, inner, outer = problem(seed)
        found = jax.device_get(search(state, inner, outer, margin, smallest))
        for row, length in enumerate(LENGTHS):
            subsets = divergences_of_all_subsets(state[row], inner, outer, length)
            feasible = {k: d for k, d in subsets.items() if d <= margin and len(k) >= smallest}
            size = min(map(len, feasible))
            optima = {kept: d for kept, d in feasible.items() if len(kept) == size}
            best = min(optima, key=optima.get)
            sizes.append(size)
            assert found.size[row] == size
            assert found.optima[row] == len(optima)
            assert tuple(np.flatnonzero(found.kept[row])) == best
            assert found.divergence[row] == pytest.approx(optima[best], abs=1e-5)
    assert set(sizes) >= {smallest, 1, 2, 3}, "the problems must not be all alike"


def test_padding_is_never_kept_and_has_no_say():
    state, inner, outer = problem(0)
    expected = search(state, inner, outer, 0.02)
    found = search(np.where(VALID[..., None], state, 7).astype(np.float32), inner, outer, 0.02)
    assert not jnp.any(found.kept & ~VALID)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_keeping_everything_is_feasible_whatever_the_margin():
    state, inner, outer = problem(1)
    found = search(state, inner, outer, -1.0)
    np.testing.assert_array_equal(found.kept, VALID)
    np.testing.assert_array_equal(found.size, LENGTHS)
    np.testing.assert_array_equal(found.optima, np.ones(B))
    np.testing.assert_allclose(found.divergence, 0, atol=1e-6)


def test_a_boundless_margin_keeps_nothing_or_the_best_one_token():
    state, inner, outer = problem(2)
    np.testing.assert_array_equal(search(state, inner, outer, 1e9).size, np.zeros(B))
    one = search(state, inner, outer, 1e9, 1)
    np.testing.assert_array_equal(one.size, np.ones(B))
    np.testing.assert_array_equal(one.optima, LENGTHS)


def test_examples_do_not_affect_each_other():
    """An easy example waits for a hard one to finish and keeps its own optimum."""
    state, inner, outer = problem(3)
    expected = search(state, inner, outer, 0.02)
    other = problem(4)[0]
    found = search(np.concatenate([state[:1], other[1:]]), inner, outer, 0.02)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])


def test_a_text_over_the_limit_is_refused():
    def divergence(state):
        raise AssertionError("refused before anything is computed")

    def refused(length: int, **limit: int):
        state, valid = jnp.zeros((1, length, D)), jnp.ones((1, length), bool)
        return exact_erasure(divergence, state, valid, BASELINE, 0.1, **limit)

    with pytest.raises(UserError, match=r"17 tokens would compare 2\^17 subsets.*is 16 tokens"):
        refused(17)
    with pytest.raises(UserError, match="the limit is 3 tokens"):
        refused(4, longest=3)


def test_leaving_one_out_is_a_plain_loop():
    state, inner, outer = problem(5)
    divergence = jax.jit(divergence_to(state, inner, outer))
    found = jax.jit(
        lambda state: leave_one_out(divergence_to(state, inner, outer), state, VALID, BASELINE)
    )(state)
    expected = np.zeros((B, T))
    for position in range(T):
        without = state.copy()
        without[:, position] = BASELINE
        expected[:, position] = divergence(without)
    np.testing.assert_allclose(found, np.where(VALID, expected, 0), atol=1e-6)
    np.testing.assert_array_equal(found[~VALID], 0)
    assert jnp.all(found[VALID] > 0)
