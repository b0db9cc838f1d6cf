"""Attributions against a truth: the divergences are SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from diffmask_jax.analysis import ground_truth

B, T = 4, 6
VALID = jnp.arange(T) < jnp.array([[6], [4], [2], [1]])
normalise, kl, js = (jax.jit(f) for f in (ground_truth.normalise, ground_truth.kl, ground_truth.js))
# Powers of two apart, so that no attribution is lost beside another in float32.
attributions = arrays(np.float32, (B, T), elements=st.sampled_from([0, 0.125, 0.5, 1, 2, 8]))


@given(attributions)
@settings(deadline=None, max_examples=50)
def test_normalised_attributions_are_distributions_over_valid_positions(attribution):
    p = np.asarray(normalise(jnp.asarray(attribution), VALID))
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(p[~VALID], 0)
    assert np.all(p >= 0)
    kept = np.where(VALID, attribution, 0)
    shares = p * kept.sum(-1, keepdims=True)
    np.testing.assert_allclose(shares, kept, atol=1e-6)


def test_attributions_of_zero_are_uniform():
    p = normalise(jnp.zeros((B, T)), VALID)
    np.testing.assert_allclose(p, VALID / VALID.sum(-1, keepdims=True))


@given(attributions, attributions)
@settings(deadline=None, max_examples=50)
def test_kl_and_js_are_scipys(first, second):
    p, q = (normalise(jnp.asarray(a), VALID) for a in (first, second))
    np.testing.assert_allclose(kl(p, q), entropy(p, q, axis=-1), rtol=1e-4, atol=1e-6)
    distance = jensenshannon(np.float64(p), np.float64(q), axis=-1)
    np.testing.assert_allclose(js(p, q), distance**2, rtol=1e-4, atol=1e-6)


def test_without_shared_support_kl_is_infinite_and_js_log_two():
    p, q = jnp.array([[0.5, 0.5, 0, 0]]), jnp.array([[0, 0, 1.0, 0]])
    assert kl(p, q) == np.inf
    np.testing.assert_allclose(js(p, q), np.log(2), rtol=1e-6)


def test_a_known_value():
    """All of the attribution on one of two true positions."""
    truth, found = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(kl(found, truth), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(js(truth, found), 0.75 * np.log(4 / 3), rtol=1e-6)
