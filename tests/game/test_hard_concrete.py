"""The Hard Concrete distribution against SciPy, closed forms and its own samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logit
from scipy.stats import logistic

from diffmask_jax.game import hard_concrete
from diffmask_jax.game.hard_concrete import PAPER, Shape

SHAPES = [PAPER, Shape(right=1.1), Shape(2 / 3, -0.1, 1.1)]
LOGITS = np.array([-50, -7, -3, -1, -0.3, 0, 0.3, 1, 3, 7, 50], np.float32)
SAMPLED, NUMBER = jnp.array([-2.0, 0.0, 1.5]), 20_000
GATES = np.array([0, 1e-4, 0.1, 0.35, 0.5, 0.8, 0.99, 0.999], np.float32)

shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)

# Compiled whole: one program a test instead of one for each operation in it.
sample = jax.jit(hard_concrete.sample, static_argnames="shape")
deterministic = jax.jit(hard_concrete.deterministic, static_argnames="shape")
log_keep_probability = jax.jit(hard_concrete.log_keep_probability, static_argnames="shape")
keep_probability = jax.jit(hard_concrete.keep_probability, static_argnames="shape")
cdf = jax.jit(hard_concrete.cdf, static_argnames="shape")
log_density = jax.jit(hard_concrete.log_density, static_argnames="shape")
mean = jax.jit(hard_concrete.mean, static_argnames="shape")


def log_odds(gate, shape: Shape):
    """What the noise plus the logit must not exceed for a gate ≤ this one, in float64."""
    return shape.temperature * logit((np.float64(gate) - shape.left) / (shape.right - shape.left))


def draw(shape: Shape, seed: int) -> np.ndarray:
    """A row of gates for each of SAMPLED."""
    logits = jnp.broadcast_to(SAMPLED[:, None], (len(SAMPLED), NUMBER))
    return np.asarray(sample(jax.random.key(seed), logits, shape))


def grid(gates, logits):
    gates, logits = np.meshgrid(np.float32(gates), np.float32(logits))
    return jnp.asarray(gates), jnp.asarray(logits)


# --- the distribution ------------------------------------------------------------------------


@shapes
def test_keep_probability_and_its_log_are_those_of_a_logistic_noise(shape):
    expected = logistic.logsf(log_odds(0, shape), loc=np.float64(LOGITS))
    log_keep = log_keep_probability(jnp.asarray(LOGITS), shape)
    np.testing.assert_allclose(log_keep, expected, rtol=5e-6)
    keep = keep_probability(jnp.asarray(LOGITS), shape)
    np.testing.assert_allclose(keep, np.exp(expected), rtol=1e-5)


@shapes
def test_cdf_is_that_of_a_logistic_noise(shape):
    gates, logits = grid(GATES, LOGITS)
    expected = logistic.cdf(log_odds(gates, shape), loc=np.float64(logits))
    np.testing.assert_allclose(cdf(gates, logits, shape), expected, rtol=2e-5)


def test_cdf_is_zero_below_the_gates_and_one_above():
    logits = jnp.full(5, 0.3)
    outside = cdf(jnp.array([-2.0, -1e-6, 1.0, 1.001, 3.0]), logits)
    np.testing.assert_array_equal(outside, [0, 0, 1, 1, 1])


@shapes
def test_keep_probability_is_what_the_cdf_leaves_above_zero(shape):
    at_zero = cdf(jnp.zeros_like(LOGITS), jnp.asarray(LOGITS), shape)
    keep = keep_probability(jnp.asarray(LOGITS), shape)
    np.testing.assert_allclose(keep + at_zero, 1, atol=1e-6)


@shapes
def test_density_is_the_derivative_of_the_cdf(shape):
    gates, logits = grid(np.linspace(0.02, 0.98, 9), LOGITS[1:-1])
    y = log_odds(gates, shape) - np.float64(logits)
    s = (np.float64(gates) - shape.left) / (shape.right - shape.left)
    slope = shape.temperature / (s * (1 - s)) / (shape.right - shape.left)
    log_p = log_density(gates, logits, shape)
    np.testing.assert_allclose(log_p, logistic.logpdf(y) + np.log(slope), atol=1e-4)


def test_density_is_of_the_open_interval_only():
    ends = log_density(jnp.array([-0.1, 0.0, 1.0, 1.1]), jnp.zeros(4))
    np.testing.assert_array_equal(ends, np.full(4, -np.inf))


@shapes
def test_density_integrates_to_the_probability_of_the_open_interval(shape):
    @jax.jit
    def density(gate, a):
        return jnp.exp(hard_concrete.log_density(gate, a, shape))

    # Without exact ones (r = 1) the density has a pole at 1, which the cdf accounts for.
    end = 1.0 if shape.right > 1 else 0.999
    for a in np.float32([-3, -0.5, 1]):
        below, above = logistic.cdf([log_odds(0, shape), log_odds(end, shape)], loc=a)
        total, _ = quad(lambda x, a=a: float(density(np.float32(x), a)), 0, end, epsabs=1e-5)
        assert total == pytest.approx(above - below, abs=1e-4)


@shapes
def test_mean_is_the_integral_of_the_survival_function(shape):
    def survival(gate, a):
        return logistic.sf(log_odds(gate, shape), loc=a)

    expected = [quad(survival, 0, 1, args=(float(a),), epsabs=1e-9)[0] for a in LOGITS]
    np.testing.assert_allclose(mean(jnp.asarray(LOGITS), shape), expected, atol=1e-5)


@shapes
def test_deterministic_gate_is_the_median(shape):
    expected = np.where(
        logistic.cdf(log_odds(0, shape), loc=LOGITS) >= 0.5,
        0.0,
        np.minimum(
            logistic.cdf(LOGITS / shape.temperature) * (shape.right - shape.left) + shape.left, 1
        ),
    )
    gates = deterministic(jnp.asarray(LOGITS), shape)
    np.testing.assert_allclose(gates, expected, atol=1e-6)
    inside = (gates > 0) & (gates < 0.999)
    below = cdf(gates, jnp.asarray(LOGITS), shape)
    assert inside.sum() >= 2
    np.testing.assert_allclose(below[inside], 0.5, atol=1e-5)


# --- its samples -----------------------------------------------------------------------------


@shapes
def test_samples_follow_the_cdf(shape):
    gates = draw(shape, seed=0)
    assert gates.min() == 0 and gates.max() <= 1
    at = np.linspace(0, 1, 201, dtype=np.float32)
    empirical = np.mean(gates[..., None] <= at, axis=1)
    exact = cdf(*grid(at, SAMPLED), shape)
    # Dvoretzky-Kiefer-Wolfowitz: a correct sampler stays below this in 999 of 1000 runs.
    assert np.max(np.abs(empirical - exact)) < 1.95 / np.sqrt(NUMBER)


@shapes
def test_samples_agree_with_keep_probability_and_mean(shape):
    gates = draw(shape, seed=1)
    keep, four_sigma = np.asarray(keep_probability(SAMPLED, shape)), 4 / np.sqrt(NUMBER)
    found = np.mean(gates > 0, axis=1)
    np.testing.assert_array_less(np.abs(found - keep), four_sigma * np.sqrt(keep * (1 - keep)))
    found = np.mean(gates, axis=1)
    off = np.abs(found - np.asarray(mean(SAMPLED, shape)))
    np.testing.assert_array_less(off, four_sigma * np.std(gates, axis=1))


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_an_interval_beyond_one_draws_exact_ones(shape):
    expected = logistic.sf(log_odds(1, shape), loc=SAMPLED)
    np.testing.assert_allclose(np.mean(draw(shape, seed=0) == 1, axis=1), expected, atol=0.015)


@shapes
def test_gradient_of_a_sample_is_its_finite_difference_and_zero_where_clipped(shape):
    logits = jnp.linspace(-3, 3, 400)
    key = jax.random.key(2)
    gates, derivative = jax.jvp(
        lambda a: sample(key, a, shape), (logits,), (jnp.ones_like(logits),)
    )
    clipped = (gates == 0) | (gates == 1)
    assert 20 < clipped.sum() < 380
    np.testing.assert_array_equal(derivative[clipped], 0)

    gate, a = np.float64(gates[~clipped]), np.float64(logits[~clipped])
    noise = log_odds(gate, shape) - a

    def redrawn(a):
        s = logistic.cdf((noise + a) / shape.temperature)
        return s * (shape.right - shape.left) + shape.left

    difference = (redrawn(a + 1e-5) - redrawn(a - 1e-5)) / 2e-5
    np.testing.assert_allclose(derivative[~clipped], difference, atol=1e-5)


# --- its behaviour under JAX -----------------------------------------------------------------

FUNCTIONS = {
    "sample": functools.partial(sample, jax.random.key(3)),
    "deterministic": deterministic,
    "log keep probability": log_keep_probability,
    "keep probability": keep_probability,
    "mean": mean,
    "cdf at 0": lambda a: cdf(jnp.zeros_like(a), a),
    "cdf at 0.99": lambda a: cdf(jnp.full_like(a, 0.99), a),
    "log density at 0.01": lambda a: log_density(jnp.full_like(a, 0.01), a),
    "log density at 0.99": lambda a: log_density(jnp.full_like(a, 0.99), a),
}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_stay_finite(name, dtype):
    logits = jnp.linspace(-50, 50, 41).astype(dtype)
    both = jax.jit(jax.vmap(jax.value_and_grad(FUNCTIONS[name])))
    values, gradients = both(logits)
    assert values.dtype == gradients.dtype == dtype
    assert jnp.all(jnp.isfinite(values)) and jnp.all(jnp.isfinite(gradients))
    if name != "sample":  # whose noise depends on the shape of what is drawn
        whole = FUNCTIONS[name](logits)
        np.testing.assert_allclose(np.float32(values), np.float32(whole), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("gate", [1e-30, 1e-6, 1 - 2**-23, 1 - 2**-24])
def test_density_and_its_gradients_are_finite_next_to_the_ends(gate):
    value_and_slopes = jax.value_and_grad(log_density, argnums=(0, 1))
    for number in jax.tree.leaves(value_and_slopes(jnp.float32(gate), jnp.float32(0.5))):
        assert jnp.isfinite(number)


def test_bfloat16_logits_lose_no_more_than_their_own_rounding():
    logits = jnp.linspace(-50, 50, 41).astype(jnp.bfloat16)
    expected = log_keep_probability(logits.astype(jnp.float32))
    found = log_keep_probability(logits)
    np.testing.assert_allclose(np.float32(found), expected, rtol=2**-8)


def test_sampling_maps_over_keys():
    keys = jax.random.split(jax.random.key(4), 3)
    logits = jnp.zeros((3, 7))
    together = jax.vmap(sample)(keys, logits)
    alone = [sample(k, a) for k, a in zip(keys, logits, strict=True)]
    np.testing.assert_array_equal(together, np.stack(alone))
    assert not np.array_equal(together[0], together[1])


logit_lists = st.lists(st.floats(-50, 50, width=32), min_size=8, max_size=8)


@given(logit_lists)
@settings(deadline=None, max_examples=30)
def test_everything_is_monotone_in_the_logit(values):
    logits = jnp.sort(jnp.array(values, jnp.float32))
    rising = ["deterministic", "log keep probability", "keep probability", "mean"]
    for name in rising:
        assert jnp.all(jnp.diff(FUNCTIONS[name](logits)) >= -1e-6), name
    assert jnp.all(jnp.diff(FUNCTIONS["cdf at 0.99"](logits)) <= 1e-6)


def test_with_the_same_noise_a_larger_logit_draws_no_smaller_gate():
    key, logits = jax.random.key(5), jnp.linspace(-3, 3, 500)
    lower, higher = (sample(key, logits + shift) for shift in (0.0, 0.1))
    assert jnp.all(higher >= lower) and jnp.any(higher > lower)
