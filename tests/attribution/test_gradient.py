"""Gradient times input: closed forms, and the limit of integrated gradients near zero."""

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.attribution.gradient import gradient_times_input
from diffmask_jax.attribution.integrated_gradients import integrated_gradients

STATE = jax.random.normal(jax.random.key(0), (3, 5, 4))
VALID = jnp.arange(5) < jnp.array([[5], [3], [1]])
WEIGHTS = jax.random.normal(jax.random.key(1), (5, 4))


def test_a_linear_score_is_parted_exactly():
    values = gradient_times_input(lambda h: jnp.einsum("btd,td->b", h, WEIGHTS), STATE, VALID)
    expected = np.where(VALID, np.einsum("btd,td->bt", STATE, WEIGHTS), 0)
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_product_is_counted_once_a_factor():
    """d(x·y) = y·dx + x·dy: each factor's attribution is the product itself."""
    values = gradient_times_input(lambda h: h[:, 0, 0] * h[:, 1, 0], STATE, VALID)
    product = STATE[:, 0, 0] * STATE[:, 1, 0]
    np.testing.assert_allclose(
        values[:, :2], np.where(VALID[:, :2], product[:, None], 0), atol=1e-6
    )
    assert not np.any(values[:, 2:])


def test_near_zero_it_is_integrated_gradients():
    def score(h):
        return jnp.sum(jnp.tanh(h) * WEIGHTS, axis=(1, 2))

    small = 1e-3 * jnp.where(VALID[..., None], STATE, 0)
    path = integrated_gradients(score, small, VALID, steps=50).contribution
    np.testing.assert_allclose(
        gradient_times_input(score, small, VALID), path, rtol=1e-4, atol=1e-9
    )
