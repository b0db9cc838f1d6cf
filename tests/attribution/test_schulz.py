"""Schulz et al.: what a gate lets through, in nats, and a text whose answer is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid, softplus

from diffmask_jax.attribution.schulz import Statistics, information, restrict_flow, statistics

B, T, D = 3, 5, 4
STATE = jax.random.normal(jax.random.key(0), (B, T, D))
VALID = jnp.arange(T) < jnp.array([[5], [4], [3]])
DECIDES = jnp.array([3, 0, 2])
NOISE = Statistics(jnp.array([0.5, -1.0, 0.0, 2.0]), jnp.array([0.5, 1.0, 2.0, 3.0]))
STANDARD = Statistics(jnp.zeros(D), jnp.ones(D))


def test_statistics_are_of_the_valid_positions():
    mean, deviation = statistics(jnp.where(VALID[..., None], STATE, 100.0), VALID)
    rows = np.asarray(STATE)[np.asarray(VALID)]
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, rows.std(0), rtol=1e-5)


def test_information_is_pytorchs_divergence_of_two_normals():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    normal = torch.distributions.Normal
    logits = jax.random.normal(jax.random.key(1), (B, T)) * 3
    a = torch.tensor(np.asarray(sigmoid(logits), np.float64))[..., None]
    r = torch.tensor(np.asarray((STATE - NOISE.mean) / NOISE.deviation, np.float64))
    expected = torch.distributions.kl_divergence(normal(a * r, 1 - a), normal(0.0, 1.0)).mean(-1)
    found = information(STATE, logits, NOISE)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_shut_gate_says_nothing_and_an_open_one_ever_more():
    logits = jnp.broadcast_to(jnp.array([-50.0, -1.0, 0.0, 5.0, 50.0]), (B, T))
    state = jnp.broadcast_to(STATE[:, :1], STATE.shape)
    told = information(state, logits, NOISE)
    np.testing.assert_allclose(told[:, 0], 0, atol=1e-6)
    assert jnp.all(jnp.diff(told, axis=1) > 0) and jnp.all(jnp.isfinite(told))


def test_a_dimension_that_never_varies_says_what_the_others_do_not_change():
    """Such as a unit that is never active: it has no deviation, and r = 0, not nan."""
    noise = Statistics(NOISE.mean.at[2].set(STATE[0, 0, 2]), NOISE.deviation.at[2].set(0.0))
    state = STATE.at[..., 2].set(STATE[0, 0, 2])
    logits = jax.random.normal(jax.random.key(1), (B, T))
    rest = np.array([0, 1, 3])
    others = information(state[..., rest], logits, Statistics(*(part[rest] for part in noise)))
    dead = Statistics(jnp.zeros(1), jnp.ones(1))
    constant = information(jnp.zeros((B, T, 1)), logits, dead)
    np.testing.assert_allclose(
        information(state, logits, noise), (3 * others + constant) / 4, rtol=1e-5
    )
    found = restrict_flow(jax.random.key(2), cross_entropy, state, VALID, noise, 3)
    assert jnp.all(jnp.isfinite(found))


def cross_entropy(state):
    """Of a prediction that hangs on one position of each example alone."""
    return softplus(-4 * state[jnp.arange(B), DECIDES].sum(-1))


@functools.partial(jax.jit, static_argnames=("steps", "weight"))
def explain(state, steps: int = 200, weight: float = 0.1):
    key = jax.random.key(2)
    return restrict_flow(key, cross_entropy, state, VALID, STANDARD, steps, weight)


DECISIVE = (0.3 * STATE).at[jnp.arange(B), DECIDES].set(1.0)


def test_the_token_that_decides_keeps_its_gate_open():
    found = np.asarray(explain(DECISIVE))
    decides = np.arange(T) == np.asarray(DECIDES)[:, None]
    assert found[decides].min() > 0.5
    assert found[~decides].max() < 0.1


def test_gates_start_open_and_padding_has_none():
    found = explain(DECISIVE, 0)
    np.testing.assert_allclose(found[VALID], sigmoid(5.0))
    np.testing.assert_array_equal(explain(DECISIVE)[~VALID], 0)


def test_what_stands_in_the_padding_has_no_say():
    padded = jnp.where(VALID[..., None], DECISIVE, 50.0)
    np.testing.assert_allclose(explain(padded), explain(DECISIVE), atol=1e-6)


def test_examples_do_not_affect_each_other():
    others = DECISIVE.at[1:].set(-3 * STATE[1:])
    np.testing.assert_array_equal(explain(others)[0], explain(DECISIVE)[0])


def test_a_dearer_bottleneck_lets_less_through():
    assert jnp.all(explain(DECISIVE, weight=10.0).sum(-1) < 0.8 * explain(DECISIVE).sum(-1))
