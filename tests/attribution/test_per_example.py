"""Both methods find what a linear model's output hangs on, and examples never touch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from diffmask_jax import hard_concrete
from diffmask_jax.attribution.per_example import Settings, diffmask, reinforce

B, T, D = 3, 6, 4
STATE = jnp.ones((B, T, D))
VALID = jnp.arange(T) < jnp.array([[6], [5], [4]])
DECIDES = jnp.array([3, 0, 2])
BASELINE = jnp.zeros(D)
KEEP = {diffmask: hard_concrete.keep_probability, reinforce: sigmoid}


def divergence(state):
    """5 nats if the deciding position of an example is dropped, 0 if it is kept."""
    return 5 * (1 - state[jnp.arange(state.shape[0]), DECIDES[: state.shape[0]], 0]) ** 2


@pytest.mark.parametrize("method", [diffmask, reinforce])
def test_only_what_the_output_hangs_on_is_kept(method):
    settings = Settings(steps=1500, rate=0.05)
    found = method(jax.random.key(0), divergence, STATE, VALID, BASELINE, settings)
    keep = np.asarray(KEEP[method](found.logits))
    expected = np.asarray(jax.nn.one_hot(DECIDES, T))
    np.testing.assert_allclose(keep, expected, atol=0.2)


@pytest.mark.parametrize("method", [diffmask, reinforce])
def test_an_example_is_the_same_alone(method):
    """The noise differs with the batch's shape, so without any: a divergence that never changes."""
    settings = Settings(steps=20)

    def constant(state):
        return jnp.full(state.shape[0], 0.3)

    together = method(jax.random.key(0), constant, STATE, VALID, BASELINE, settings)
    alone = method(jax.random.key(0), constant, STATE[:1], VALID[:1], BASELINE, settings)
    np.testing.assert_allclose(together.multipliers[:1], alone.multipliers, rtol=1e-5)
    if method is diffmask:
        np.testing.assert_allclose(together.logits[:1], alone.logits, rtol=1e-4)


@pytest.mark.parametrize("method", [diffmask, reinforce])
def test_padding_is_dropped_and_bounds_hold(method):
    settings = Settings(steps=400, rate=1.0, multiplier_rate=5.0)
    found = method(jax.random.key(1), divergence, STATE, VALID, BASELINE, settings)
    assert (np.asarray(found.logits)[~np.asarray(VALID)] == -10).all()
    assert np.abs(found.logits).max() <= 10
    assert found.multipliers.min() >= 0 and found.multipliers.max() <= 200


def test_the_score_function_gradient_is_right_in_the_mean():
    """Against the exact gradient of E[D], by enumeration over the gates of one example."""
    logits = jnp.array([0.3, -0.4])
    table = jnp.array([0.1, 1.0, 0.4, 2.0])  # D of the gates 00, 01, 10, 11

    def exact(a):
        p = sigmoid(a)
        probabilities = jnp.array(
            [(1 - p[0]) * (1 - p[1]), (1 - p[0]) * p[1], p[0] * (1 - p[1]), p[0] * p[1]]
        )
        return probabilities @ table

    def estimate(key, a):
        z = jax.random.bernoulli(key, sigmoid(a)).astype(jnp.float32)
        reward = table[(2 * z[0] + z[1]).astype(int)]

        def surrogate(a):
            return reward * jnp.sum(jax.nn.log_sigmoid(jnp.where(z == 1, a, -a)))

        return jax.grad(surrogate)(a)

    keys = jax.random.split(jax.random.key(0), 40_000)
    found = jax.vmap(estimate, in_axes=(0, None))(keys, logits).mean(0)
    np.testing.assert_allclose(found, jax.grad(exact)(logits), atol=0.02)
