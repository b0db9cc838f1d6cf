"""Guan et al.: noise is tolerated where the output does not hang on the state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softplus

from diffmask_jax.attribution.guan import tolerated_noise

B, T, D = 3, 5, 4
STATE = jax.random.normal(jax.random.key(0), (B, T, D))
VALID = jnp.arange(T) < jnp.array([[5], [4], [3]])
DECIDES = jnp.array([3, 0, 2])
KEY = jax.random.key(1)


def decision(state):
    """One number that hangs on one position of each example alone."""
    return 5 * state[jnp.arange(B), DECIDES].sum(-1)


@functools.partial(jax.jit, static_argnames=("output", "steps", "weight"))
def explain(state, output=decision, steps: int = 1000, weight: float = 1.0):
    return tolerated_noise(KEY, output, state, VALID, steps, weight)


def test_the_token_that_decides_tolerates_the_least_noise():
    found = np.asarray(explain(STATE))
    decides = np.arange(T) == np.asarray(DECIDES)[:, None]
    assert found[decides].min() > 10 * found[VALID & ~decides].max()


def test_the_noise_settles_where_its_cost_meets_its_entropy():
    """E[(Σ_d 5·σ·ε_d)²] − log(σ)/n, n valid positions, is least where 1/σ² = 2·n·5²·D."""
    found = np.asarray(explain(STATE))[np.arange(B), DECIDES]
    expected = np.sqrt(2 * np.array([5, 4, 3]) * 5**2 * D)
    np.testing.assert_allclose(found, expected, rtol=0.3)


def test_a_weight_of_each_text_weighs_the_sum_of_entropies():
    """As the authors do: with the number of valid positions as weight, n drops out."""
    weights = VALID.sum(axis=1).astype(float)
    found = np.asarray(tolerated_noise(KEY, decision, STATE, VALID, 1000, weights))
    expected = np.sqrt(2 * 5**2 * D)
    np.testing.assert_allclose(found[np.arange(B), DECIDES], expected, rtol=0.3)


def test_noise_starts_small_and_padding_has_none():
    found = explain(STATE, steps=0)
    np.testing.assert_allclose(found[VALID], 1 / softplus(-5.0), rtol=1e-6)
    np.testing.assert_array_equal(explain(STATE)[~VALID], 0)


def test_outputs_may_be_one_number_or_many():
    def twice(state):
        return jnp.stack([decision(state), jnp.zeros(B)], axis=-1)

    np.testing.assert_allclose(explain(STATE, output=twice), explain(STATE), rtol=1e-5)


def test_a_larger_weight_of_the_entropy_lets_in_more_noise():
    decisive = jnp.arange(B), DECIDES
    assert jnp.all(explain(STATE, weight=10.0)[decisive] < 0.6 * explain(STATE)[decisive])


def test_what_stands_in_the_padding_has_no_say():
    padded = jnp.where(VALID[..., None], STATE, 50.0)
    np.testing.assert_array_equal(explain(padded), explain(STATE))


def test_examples_do_not_affect_each_other():
    others = STATE.at[1:].multiply(-3)
    np.testing.assert_allclose(explain(others)[0], explain(STATE)[0], rtol=1e-5)
