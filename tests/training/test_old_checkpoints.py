"""An optimiser's state of older versions is today's, array by array."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.game.flat_probes import flat_pair, flat_parts
from diffmask_jax.game.players import Rates, authors, settling
from diffmask_jax.training.old_checkpoints import joined

RATES = Rates(probe=0.1, baseline=0.2, multiplier=0.01, warmup=2)
PLAYERS = {"authors": authors(RATES), "settling": settling(0.1, RATES)}


def probe(rng) -> dict:
    """Two gate networks and two baselines."""
    network = {"first": {"kernel": (3, 2), "bias": (2,)}, "shift": ()}
    shapes = {"gates": [network] * 2, "baselines": [(4,)] * 2}
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda part: isinstance(part, tuple),
    )


def pair(rng) -> optax.LookaheadParams:
    params = probe(rng)
    return optax.LookaheadParams(fast=params, slow=params)


@pytest.mark.parametrize("name", PLAYERS)
def test_joined_it_is_the_state_that_a_flat_probe_s_optimiser_has(name):
    rng, primal = np.random.default_rng(0), PLAYERS[name].primal
    start, gradients = pair(rng), [probe(rng) for _ in range(7)]

    def play(flat):
        as_is = flat or (lambda params: params)
        params = jax.tree.map(lambda leaf: leaf, as_is(start))
        state = primal.init(params)
        for each in gradients:
            gradient = flat_parts(each) if flat else each
            updates, state = primal.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return state

    older, expected = play(None), play(flat_pair)
    found = joined(older, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
