"""Masked states and means over valid positions."""

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.game.masking import mask_state, mean_over_valid

STATE = jax.random.normal(jax.random.key(0), (2, 3, 4))
BASELINE = jax.random.normal(jax.random.key(1), (4,))
GATE = jax.random.uniform(jax.random.key(2), (2, 3))
VALID = jnp.array([[True, True, False], [True, False, False], [False, False, False]])


def test_an_open_gate_gives_the_state_and_a_shut_one_the_baseline_exactly():
    np.testing.assert_array_equal(mask_state(STATE, jnp.ones((2, 3)), BASELINE), STATE)
    shut = mask_state(STATE, jnp.zeros((2, 3)), BASELINE)
    np.testing.assert_array_equal(shut, jnp.broadcast_to(BASELINE, STATE.shape))


def test_a_gate_mixes_its_own_position():
    masked = mask_state(STATE, GATE, BASELINE)
    for row, position in np.ndindex(2, 3):
        z = GATE[row, position]
        expected = z * STATE[row, position] + (1 - z) * BASELINE
        np.testing.assert_allclose(masked[row, position], expected, rtol=1e-5)


def test_gradients_reach_gate_and_baseline():
    gate, baseline = jax.grad(lambda z, b: mask_state(STATE, z, b).sum(), argnums=(0, 1))(
        GATE, BASELINE
    )
    np.testing.assert_allclose(gate, (STATE - BASELINE).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(baseline, np.full(4, (1 - GATE).sum()), rtol=1e-5)


def test_a_masked_state_keeps_the_states_dtype():
    masked = mask_state(STATE.astype(jnp.bfloat16), GATE, BASELINE)
    assert masked.dtype == jnp.bfloat16


def test_the_mean_is_over_valid_positions_and_zero_without_any():
    values = jnp.array([[1.0, 3.0, 100.0], [5.0, 100.0, 100.0], [100.0, 100.0, 100.0]])
    np.testing.assert_array_equal(mean_over_valid(values, VALID), [2, 5, 0])


def test_not_even_a_nan_gets_out_of_the_padding():
    values = jnp.where(VALID, 1.0, jnp.nan)
    np.testing.assert_array_equal(mean_over_valid(values, VALID), [1, 1, 0])
    slopes = jax.grad(lambda v: mean_over_valid(v, VALID).sum())(values)
    np.testing.assert_array_equal(slopes, [[0.5, 0.5, 0], [1, 0, 0], [0, 0, 0]])
