"""Both methods find what a linear model's output hangs on, and examples never touch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from diffmask_jax import hard_concrete
from diffmask_jax.attribution.per_example import Settings, diffmask, reinforce
from diffmask_jax.data import batches, wordpieces
from diffmask_jax.divergences import categorical_divergence
from diffmask_jax.masking import mask_state
from diffmask_jax.models.hub import load_bert

B, T, D = 3, 6, 4
STATE = jnp.ones((B, T, D))
VALID = jnp.arange(T) < jnp.array([[6], [5], [4]])
DECIDES = jnp.array([3, 0, 2])
BASELINE = jnp.zeros(D)
KEEP = {diffmask: hard_concrete.keep_probability, reinforce: sigmoid}


def divergence(state):
    """5 nats if the deciding position of an example is dropped, 0 if it is kept."""
    return 5 * (1 - state[jnp.arange(state.shape[0]), DECIDES[: state.shape[0]], 0]) ** 2


@pytest.mark.parametrize("method", KEEP)
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


@pytest.mark.parametrize("method", KEEP)
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


@pytest.mark.parametrize("method", [diffmask, reinforce])
def test_any_model_behind_the_seam_will_do(method, tiny_bert, sentences):
    """On a BERT, at the embedding and at a block's output: the mask it ends with is feasible."""
    model = load_bert(tiny_bert)
    encoded = wordpieces.batch_encode(model.tokenizer, sentences[:4])
    inputs = jax.tree.map(jnp.asarray, batches.pad(encoded, 16))
    valid, settings = inputs.valid, Settings(margin=0.5, steps=300, rate=0.05)

    @functools.partial(jax.jit, static_argnums=0)
    def learn(layer):
        logits, states = model.model.states(model.params, inputs)

        def divergence(state):
            masked = model.model.logits_from(model.params, inputs, state, layer)
            return categorical_divergence(logits, masked)

        baseline = jnp.zeros(states[layer].shape[-1])
        found = method(jax.random.key(0), divergence, states[layer], valid, baseline, settings)
        kept = KEEP[method](found.logits) > 0.5
        return kept, divergence(mask_state(states[layer], kept.astype(jnp.float32), baseline))

    for layer in (0, 2):
        kept, reached = learn(layer)
        assert not np.asarray(kept & ~valid).any()
        assert kept.sum() < 0.8 * valid.sum() and np.median(reached) <= 0.6
