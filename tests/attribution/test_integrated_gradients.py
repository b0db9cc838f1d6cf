"""Integrated gradients: completeness, closed forms, and padding that gets nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.attribution.integrated_gradients import completed, integrated_gradients

B, T, D = 3, 5, 4
STATE = jax.random.normal(jax.random.key(0), (B, T, D))
VALID = jnp.arange(T) < jnp.array([[5], [3], [1]])
WEIGHT = jax.random.normal(jax.random.key(1), (T, D))


def keep_valid(state):
    return jnp.where(VALID[..., None], state, 0.0)


def linear(state):
    return jnp.sum(keep_valid(state) * WEIGHT, axis=(1, 2)) + 3.0


def quadratic(state):
    return jnp.sum(keep_valid(state) ** 2 * WEIGHT, axis=(1, 2))


def curved(state):
    return jnp.sum(jnp.tanh(2 * keep_valid(state) @ WEIGHT.T).prod(-1), axis=1) + quadratic(state)


@functools.partial(jax.jit, static_argnames=("score", "steps"))
def explain(score, steps: int, state=STATE):
    return integrated_gradients(score, state, VALID, steps)


def test_a_linear_score_is_split_into_its_terms_by_a_single_step():
    contribution, gap = explain(linear, 1)
    np.testing.assert_allclose(contribution, (keep_valid(STATE) * WEIGHT).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def test_a_quadratic_score_is_split_into_its_terms_since_the_midpoint_is_exact():
    contribution, gap = explain(quadratic, 1)
    expected = (keep_valid(STATE) ** 2 * WEIGHT).sum(-1)
    np.testing.assert_allclose(contribution, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def test_the_gap_shrinks_with_the_square_of_the_steps():
    gaps = np.stack([explain(curved, steps).gap for steps in (4, 16, 64)])
    assert np.all(gaps[0] > 1e-4)
    assert np.all(gaps[1] < gaps[0] / 4) and np.all(gaps[2] < gaps[0] / 40)


def test_the_gap_is_what_the_contributions_miss_of_the_change():
    contribution, gap = explain(curved, 4)
    change = curved(STATE) - curved(jnp.zeros_like(STATE))
    np.testing.assert_allclose(gap, jnp.abs(contribution.sum(-1) - change), atol=1e-5)


def test_it_is_the_integral_of_the_gradient_along_the_path():
    gradient = jax.jit(jax.vmap(jax.grad(lambda h: curved(h).sum()), in_axes=0))
    alphas = (np.arange(400) + 0.5) / 400
    along = gradient(jnp.asarray(alphas, jnp.float32)[:, None, None, None] * STATE)
    expected = (np.mean(along, axis=0) * STATE).sum(-1)
    np.testing.assert_allclose(explain(curved, 64).contribution, expected, atol=2e-3)


def test_padding_contributes_nothing_and_has_no_say():
    padded = jnp.where(VALID[..., None], STATE, 9.0)
    found, expected = explain(curved, 4, padded), explain(curved, 4)
    np.testing.assert_array_equal(found.contribution[~VALID], 0)
    np.testing.assert_array_equal(found.contribution, expected.contribution)


def test_padding_gets_nothing_even_from_a_score_that_reads_it():
    contribution, gap = explain(lambda state: jnp.sum(state, axis=(1, 2)), 2)
    np.testing.assert_array_equal(contribution[~VALID], 0)
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def test_examples_do_not_affect_each_other():
    order = jnp.array([2, 0])

    def score(state):
        return jnp.sum(jnp.tanh(state @ WEIGHT.T).prod(-1), axis=1)

    def explain(state, valid):
        return integrated_gradients(score, state, valid, 3).contribution

    whole, part = jax.jit(explain)(STATE, VALID), jax.jit(explain)(STATE[order], VALID[order])
    np.testing.assert_allclose(part, whole[order], rtol=1e-5, atol=1e-6)


def test_steps_are_doubled_until_the_contributions_are_complete():
    """They are those of many plain steps, and of no more steps than they need."""
    expected = explain(curved, 4000).contribution
    for tolerance in (0.03, 0.001):
        run = functools.partial(completed, curved, tolerance=tolerance, first=2)
        found = jax.jit(run)(STATE, VALID)
        allowed = tolerance * jnp.abs(found.contribution).sum(-1)
        assert (found.gap <= allowed).all()
        np.testing.assert_allclose(found.contribution, expected, atol=float(2 * allowed.max()))
        fewer = jax.jit(functools.partial(run, most=2))(STATE, VALID)
        assert (fewer.gap > allowed).any()


def test_a_score_that_is_never_complete_ends_at_the_most_steps():
    def jumps(state):
        return jnp.where(jnp.sum(keep_valid(state) ** 2, axis=(1, 2)) > 1e-9, 1.0, 0.0)

    found = completed(jumps, STATE, VALID, first=2, most=4)
    np.testing.assert_allclose(found.gap, 1)
