"""Both methods find what a linear model's output hangs on, and examples never touch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from diffmask_jax.attribution.per_example import (
    Gates,
    Settings,
    diffmask,
    reinforce,
    score_function_loss,
)
from diffmask_jax.data import batches, encoding
from diffmask_jax.game import hard_concrete
from diffmask_jax.game.divergences import categorical_divergence
from diffmask_jax.game.masking import mask_state
from diffmask_jax.models.loading import load_classifier

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


@pytest.mark.parametrize("method", KEEP)
def test_padding_is_dropped_and_bounds_hold(method):
    settings = Settings(steps=400, rate=1.0, multiplier_rate=5.0)
    found = method(jax.random.key(1), divergence, STATE, VALID, BASELINE, settings)
    assert (np.asarray(found.logits)[~np.asarray(VALID)] == -10).all()
    assert np.abs(found.logits).max() <= 10
    assert found.multipliers.min() >= 0 and found.multipliers.max() <= 200


def test_the_score_function_gradient_is_right_in_the_mean():
    """Averaged exactly, over all gates of one example, whatever average is subtracted."""
    gates = Gates(jnp.array([[0.3, -0.4, 0.9]]), jnp.array([2.5]))
    valid = jnp.array([[True, True, False]])
    excess = jnp.array([-0.1, 1.0, 0.4, 2.0])  # D − m of the gates 00, 01, 10, 11
    every_z = jnp.array([[0.0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]])

    def probabilities(logits):
        keep = sigmoid(logits[0, :2])
        return jnp.prod(jnp.where(every_z[:, :2] == 1, keep, 1 - keep), axis=-1)

    def exact(gates):
        """The gradient in the logits is L₀ + λ·E[D − m]'s, the one in λ is −E[D − m]."""
        sparsity = jnp.mean(sigmoid(gates.logits[0, :2]))
        expected = probabilities(gates.logits) @ excess
        held, rising = jax.lax.stop_gradient((gates.multipliers[0], expected))
        return sparsity + held * expected - gates.multipliers[0] * rising

    def estimate(gates, z, excess):
        average = jnp.array([0.7])
        return score_function_loss(gates, z[None], excess[None], average, valid)[0]

    each = jax.jit(jax.vmap(jax.grad(estimate), in_axes=(None, 0, 0)))(gates, every_z, excess)
    weights = probabilities(gates.logits)
    found = jax.tree.map(lambda x: jnp.tensordot(weights, x, axes=1), each)
    for ours, theirs in zip(found, jax.jit(jax.grad(exact))(gates), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("method", [diffmask, reinforce])
def test_examples_do_not_touch(method):
    """What becomes of one is the same, to the bit, whatever the output of another does."""
    settings = Settings(steps=60)

    def other(state):
        return divergence(state) + jnp.array([0.0, 3.0, 0.0]) * state[:, 0, 0] ** 2

    found = [
        method(jax.random.key(0), d, STATE, VALID, BASELINE, settings) for d in (divergence, other)
    ]
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        assert (np.asarray(one[1]) != np.asarray(two[1])).any()


@pytest.mark.parametrize("method", [diffmask, pytest.param(reinforce, marks=pytest.mark.long)])
def test_any_model_behind_the_seam_will_do(method, tiny_bert, sentences):
    """On a BERT, at the embedding and at a block's output: the mask it ends with is feasible."""
    model = load_classifier(tiny_bert)
    encoded = encoding.batch_encode(model.tokenizer, sentences[:4])
    inputs = jax.tree.map(jnp.asarray, batches.pad(encoded, 16))
    valid, settings = inputs.valid, Settings(margin=0.5, steps=200, rate=0.1)

    @functools.partial(jax.jit, static_argnums=0)
    def learn(layer):
        logits, states = model.network.states(model.params, inputs)

        def divergence(state):
            masked = model.network.logits_from(model.params, inputs, state, layer)
            return categorical_divergence(logits, masked)

        baseline = jnp.zeros(states[layer].shape[-1])
        found = method(jax.random.key(0), divergence, states[layer], valid, baseline, settings)
        kept = KEEP[method](found.logits) > 0.5
        return kept, divergence(mask_state(states[layer], kept.astype(jnp.float32), baseline))

    for layer in (0, 2):
        kept, reached = learn(layer)
        assert not np.asarray(kept & ~valid).any()
        assert kept.sum() < 0.8 * valid.sum() and np.median(reached) <= 0.6
