"""The toy model keeps the laws of every `Model`, and counts what it is told to count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.models import toy
from diffmask_jax.models.initializers import dense
from diffmask_jax.models.toy import TOY, ToyInputs

B, T = 4, 6
PARAMS = jax.jit(toy.init)(jax.random.key(0))
clean = jax.jit(TOY.states)
resume = jax.jit(TOY.logits_from, static_argnums=3)


def random_inputs(seed: int, lengths=(6, 4, 2, 1)) -> ToyInputs:
    rng = np.random.default_rng(seed)
    return ToyInputs(
        jnp.asarray(rng.integers(0, 10, (B, 2))),
        jnp.asarray(rng.integers(0, 10, (B, T))),
        jnp.arange(T) < jnp.asarray(lengths)[:, None],
    )


INPUTS = random_inputs(0)


def test_states_are_the_embedded_digits_and_the_two_hidden_numbers():
    logits, states = clean(PARAMS, INPUTS)
    assert logits.shape == (B,)
    assert [state.shape for state in states] == [(B, T, 64), (B, T, 2)]
    assert len(TOY.layers) == 2
    table = PARAMS["digit"]["Embed_0"]["embedding"]
    np.testing.assert_array_equal(states[0], table[INPUTS.digits])


def test_the_feed_forward_layers_read_query_and_digit():
    query = PARAMS["query"]["Embed_0"]["embedding"][INPUTS.query].reshape(B, 1, 2 * 64)
    digits = PARAMS["digit"]["Embed_0"]["embedding"][INPUTS.digits]
    both = jnp.concatenate([jnp.broadcast_to(query, (B, T, 2 * 64)), digits], axis=-1)
    expected = toy._FeedForward().apply({"params": PARAMS["feed_forward"]}, both)
    np.testing.assert_allclose(clean(PARAMS, INPUTS)[1][1], expected, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_resuming_from_a_clean_state_gives_the_clean_logits(layer):
    logits, states = clean(PARAMS, INPUTS)
    found = resume(PARAMS, INPUTS, states[layer], layer)
    np.testing.assert_allclose(found, logits, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1])
def test_resuming_looks_at_the_state_and_not_at_the_digits(layer):
    logits, states = clean(PARAMS, INPUTS)
    others = INPUTS._replace(digits=random_inputs(1).digits)
    np.testing.assert_allclose(resume(PARAMS, others, states[layer], layer), logits, atol=1e-6)
    assert jnp.all(resume(PARAMS, INPUTS, states[layer] + 1, layer) != logits)


def test_the_query_counts_below_the_hidden_state_only():
    logits, states = clean(PARAMS, INPUTS)
    others = INPUTS._replace(query=(INPUTS.query + 1) % 10)
    np.testing.assert_allclose(resume(PARAMS, others, states[1], 1), logits, atol=1e-6)
    assert jnp.all(resume(PARAMS, others, states[0], 0) != logits)


@given(st.lists(st.integers(1, T), min_size=B, max_size=B), st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_padding_is_inert(lengths, digit):
    inputs = random_inputs(2, lengths)
    padded = inputs._replace(digits=jnp.where(inputs.valid, inputs.digits, digit))
    np.testing.assert_array_equal(clean(PARAMS, padded)[0], clean(PARAMS, inputs)[0])


def test_gradients_reach_every_valid_position_and_no_other():
    @jax.jit
    def slopes(states):
        def total(layer):
            return lambda state: TOY.logits_from(PARAMS, INPUTS, state, layer).sum()

        return [jax.grad(total(layer))(state) for layer, state in enumerate(states)]

    for slope in slopes(clean(PARAMS, INPUTS)[1]):
        np.testing.assert_array_equal(jnp.any(slope != 0, axis=-1), INPUTS.valid)


def test_positions_are_embedded_one_by_one():
    """State 1 of a position depends on its own digit and the query alone."""
    _, states = clean(PARAMS, INPUTS)
    _, moved = clean(PARAMS, INPUTS._replace(digits=INPUTS.digits.at[:, 2].add(1) % 10))
    changed = np.any(np.asarray(moved[1] != states[1]), axis=(0, 2))
    np.testing.assert_array_equal(changed, np.arange(T) == 2)


def test_the_hidden_state_is_a_feed_forward_layer_of_query_and_digit():
    p = jax.tree.map(np.float64, PARAMS)
    _, states = clean(PARAMS, INPUTS)
    query = p["query"]["Embed_0"]["embedding"][INPUTS.query].reshape(B, 128)
    second, first = (p["feed_forward"][f"Dense_{k}"] for k in (0, 1))  # numbered as constructed
    for position in range(T):
        x = np.concatenate([query, np.float64(states[0][:, position])], axis=1)
        x = np.tanh(x @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
        np.testing.assert_allclose(states[1][:, position], x, atol=1e-5)


def test_linear_layers_start_as_pytorchs_do():
    """Kernel and bias uniform within ±1/√inputs."""
    layer = dense(100, 300)
    params = layer.init(jax.random.key(3), jnp.zeros((1, 100)))["params"]
    for array in params.values():
        assert 0.09 < jnp.max(jnp.abs(array)) <= 0.1
        assert jnp.std(array) == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
