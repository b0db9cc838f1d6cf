"""Gates as they are drawn: what they multiply, how often they are zero, and for whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_set import EITHER_GATE

from diffmask_jax.game import probes
from diffmask_jax.game.drawing import draw, sample_gates
from diffmask_jax.game.probes import hidden_probe, input_probe

B, T, D, LAYERS, HIDDEN = 3, 5, 6, 3, 7
STATES = tuple(jax.random.normal(k, (B, T, D)) for k in jax.random.split(jax.random.key(0), LAYERS))
PROBES = {"input": input_probe(HIDDEN), "hidden": hidden_probe(HIDDEN)}
both = pytest.mark.parametrize("name", PROBES)
log_keep_probabilities = jax.jit(probes.log_keep_probabilities, static_argnums=0)


def make(name: str) -> dict:
    baselines = [jnp.zeros(D)] * PROBES[name].baselines(LAYERS)
    return jax.jit(lambda key: probes.init(key, PROBES[name], STATES, baselines))(jax.random.key(1))


def random_votes(seed: int):
    keys = jax.random.split(jax.random.key(seed), LAYERS)
    return tuple(2 * jax.random.normal(k, (B, T)) for k in keys)


def test_the_input_gate_is_the_running_product_of_the_votes():
    votes, key = random_votes(6), jax.random.key(7)
    draws = sample_gates(PROBES["hidden"], key, votes)
    gates = sample_gates(PROBES["input"], key, votes)
    np.testing.assert_allclose(np.stack(gates), np.cumprod(np.stack(draws), axis=0), rtol=1e-6)
    assert np.all(np.diff(np.stack(gates), axis=0) <= 0)


@both
def test_keep_probabilities_are_how_often_a_sampled_gate_is_not_zero(name):
    votes, draws = random_votes(10), 4000
    keys = jax.random.split(jax.random.key(11), draws)
    gates = jax.vmap(lambda key: jnp.stack(sample_gates(PROBES[name], key, votes)))(keys)
    keep = jnp.exp(jnp.stack(log_keep_probabilities(PROBES[name], votes)))
    bound = 4.5 * np.sqrt(keep * (1 - keep) / draws) + 1e-3
    assert jnp.all(jnp.abs(jnp.mean(gates > 0, axis=0) - keep) < bound)


def test_votes_of_different_layers_are_drawn_independently():
    votes = (jnp.zeros((B, T)),) * 2
    first, second = sample_gates(PROBES["hidden"], jax.random.key(12), votes)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", EITHER_GATE)
def test_examples_with_depths_of_their_own_draw_what_each_would_draw_at_its_depth(name):
    params, keys = make(name), jax.random.split(jax.random.key(13), B)
    depths = np.array([2, 0, 1])  # as arrays, as ints and, for the last one, traced

    def at(depths):
        return jax.jit(lambda: draw(PROBES[name], params, keys, STATES, depths))()

    found = at(depths)
    for row, depth in enumerate(depths.tolist()):
        alone = at(depth)
        for ours, expected in zip(found, alone, strict=True):
            np.testing.assert_allclose(ours[row], expected[row], rtol=1e-6, atol=1e-7)
    assert np.ptp(found.log_keep) > 0
    traced = jax.jit(draw, static_argnums=0)(PROBES[name], params, keys, STATES, 1)
    for ours, expected in zip(found, traced, strict=True):
        np.testing.assert_allclose(ours[2], expected[2], rtol=1e-6, atol=1e-7)
