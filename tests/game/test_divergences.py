"""Divergences against SciPy and PyTorch, and the laws of every Kullback-Leibler divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, rel_entr, softmax

from diffmask_jax.game import divergences
from diffmask_jax.game.divergences import BERNOULLI, CATEGORICAL

bernoulli_divergence = jax.jit(divergences.bernoulli_divergence)
categorical_divergence = jax.jit(divergences.categorical_divergence)
span_divergence = jax.jit(divergences.span_divergence)

B, T, C = 6, 5, 4
tables = arrays(np.float32, (B, C), elements=st.floats(-20, 20, width=32))
spans = arrays(np.float32, (2, B, T, 2), elements=st.floats(-20, 20, width=32))


def logits(seed: int, *shape: int) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).normal(0, 3, shape), jnp.float32)


def both(log_odds) -> np.ndarray:
    """The two probabilities of a Bernoulli variable."""
    return np.stack([expit(np.float64(log_odds)), expit(-np.float64(log_odds))], axis=-1)


def test_categorical_is_scipys_relative_entropy():
    a, b = logits(0, B, C), logits(1, B, C)
    expected = rel_entr(softmax(np.float64(a), axis=1), softmax(np.float64(b), axis=1)).sum(1)
    np.testing.assert_allclose(categorical_divergence(a, b), expected, rtol=1e-5, atol=1e-6)


def test_bernoulli_is_scipys_relative_entropy():
    a, b = logits(2, 50), logits(3, 50)
    expected = rel_entr(both(a), both(b)).sum(1)
    np.testing.assert_allclose(bernoulli_divergence(a, b), expected, rtol=1e-5, atol=2e-6)


def test_both_are_pytorchs_divergences():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    kl = torch.distributions.kl_divergence

    def of(family, *arrays):
        return kl(*(family(logits=torch.tensor(np.asarray(array))) for array in arrays))

    a, b = logits(4, B, C), logits(5, B, C)
    expected = of(torch.distributions.Categorical, a, b)
    np.testing.assert_allclose(categorical_divergence(a, b), expected, rtol=1e-4, atol=1e-6)
    a, b = logits(6, B), logits(7, B)
    expected = of(torch.distributions.Bernoulli, a, b)
    np.testing.assert_allclose(bernoulli_divergence(a, b), expected, rtol=1e-4, atol=2e-6)


def test_span_is_start_plus_end_over_valid_positions():
    a, b, lengths = logits(8, B, T, 2), logits(9, B, T, 2), np.array([5, 5, 4, 3, 2, 1])
    found = span_divergence(a, b, jnp.arange(T) < jnp.asarray(lengths)[:, None])
    for row, length in enumerate(lengths):
        p, q = (softmax(np.float64(x[row, :length]), axis=0) for x in (a, b))
        assert found[row] == pytest.approx(rel_entr(p, q).sum(), rel=1e-4, abs=1e-6)


def test_span_never_sees_what_stands_at_invalid_positions():
    a, b, other = logits(10, B, T, 2), logits(11, B, T, 2), logits(12, B, T, 2)
    valid = jnp.arange(T) < jnp.array([5, 4, 3, 3, 2, 1])[:, None]
    expected = span_divergence(a, b, valid)
    a, b = (jnp.where(valid[..., None], x, 10 * other) for x in (a, b))
    np.testing.assert_array_equal(span_divergence(a, b, valid), expected)
    slopes = jax.grad(lambda x: span_divergence(a, x, valid).sum())(b)
    np.testing.assert_array_equal(slopes[~valid], 0)
    assert jnp.all(slopes[1:4, :3] != 0)


@given(tables, tables)
@settings(deadline=None, max_examples=50)
def test_a_divergence_is_never_negative(a, b):
    assert jnp.all(categorical_divergence(jnp.asarray(a), jnp.asarray(b)) >= -1e-5)
    assert jnp.all(bernoulli_divergence(jnp.asarray(a[:, 0]), jnp.asarray(b[:, 0])) >= -1e-5)


@given(spans)
@settings(deadline=None, max_examples=30)
def test_a_span_divergence_is_never_negative(pair):
    valid = jnp.arange(T) < jnp.array([5, 4, 3, 3, 2, 1])[:, None]
    a, b = map(jnp.asarray, pair)
    assert jnp.all(span_divergence(a, b, valid) >= -1e-5)
    np.testing.assert_allclose(span_divergence(a, a, valid), 0, atol=1e-6)


@given(tables, st.integers(0, C - 1), st.floats(0.5, 5, width=32))
@settings(deadline=None, max_examples=50)
def test_a_divergence_is_zero_for_equal_distributions_only(a, column, change):
    a = jnp.asarray(a) / 4  # all classes stay likely enough for a change to show
    b = a.at[:, column].add(change)
    np.testing.assert_allclose(categorical_divergence(a, a), 0, atol=1e-6)
    np.testing.assert_allclose(bernoulli_divergence(a[:, 0], a[:, 0]), 0, atol=1e-6)
    assert jnp.all(categorical_divergence(a, b) > 1e-5)
    assert jnp.all(bernoulli_divergence(a[:, 0], a[:, 0] + change) > 1e-5)


@given(tables, tables, st.floats(-30, 30, width=32))
@settings(deadline=None, max_examples=50)
def test_a_common_shift_of_the_logits_says_nothing(a, b, shift):
    a, b = jnp.asarray(a), jnp.asarray(b)
    expected = categorical_divergence(a, b)
    shifted = categorical_divergence(a + shift, b - shift)
    np.testing.assert_allclose(shifted, expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_the_difference_of_the_probabilities():
    a, b = logits(13, B, C), logits(14, B, C)
    slopes = jax.grad(lambda b: categorical_divergence(a, b).sum())(b)
    np.testing.assert_allclose(slopes, softmax(b, axis=1) - softmax(a, axis=1), atol=1e-6)
    slopes = jax.grad(lambda b: bernoulli_divergence(a[:, 0], b).sum())(b[:, 0])
    np.testing.assert_allclose(slopes, expit(b[:, 0]) - expit(a[:, 0]), atol=1e-6)


def test_confident_predictions_stay_finite():
    far = jnp.array([-200.0, 200.0, 0.0])
    assert jnp.all(jnp.isfinite(bernoulli_divergence(far, -far)))
    assert jnp.all(jnp.isfinite(jax.grad(lambda b: bernoulli_divergence(far, b).sum())(-far)))
    assert jnp.isfinite(categorical_divergence(far[None], -far[None]))[0]


def test_families_predict_a_class_and_score_it():
    log_odds = jnp.array([2.0, -3.0])
    np.testing.assert_array_equal(BERNOULLI.prediction(log_odds), [1, 0])
    np.testing.assert_array_equal(BERNOULLI.score(log_odds, jnp.array([1, 0])), [2, 3])
    np.testing.assert_array_equal(BERNOULLI.score(log_odds, jnp.array([0, 1])), [-2, -3])
    table = jnp.array([[1.0, 5.0, 2.0], [7.0, 0.0, -1.0]])
    np.testing.assert_array_equal(CATEGORICAL.prediction(table), [1, 0])
    np.testing.assert_array_equal(CATEGORICAL.score(table, jnp.array([2, 0])), [2, 7])
    assert BERNOULLI.divergence is divergences.bernoulli_divergence
    assert CATEGORICAL.divergence is divergences.categorical_divergence
