"""The toy experiment: batches that are dealt out, examples in blocks, exact erasure by a tree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution.erasure import exact_erasure
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.models import toy
from diffmask_jax.models.toy import TOY, ToyInputs
from experiments.toy import methods, setup
from experiments.toy.erasure import MARGIN, erasure

SEEDS = [0, 1]


@pytest.fixture(scope="module")
def valid():
    """Which positions of the training examples hold a digit, (S, N, T)."""
    return setup.make_data(SEEDS)[0].inputs.valid


def test_reading_holds_for_every_seed(valid):
    rows = setup.reading(valid)
    lengths = np.asarray(valid).sum(-1)
    for position, count in enumerate(rows):
        assert (lengths[:, count:] <= position).all()
    assert len(set(rows)) == len(rows) and list(rows) == sorted(rows, reverse=True)


def test_an_epoch_deals_out_examples_once_longest_first_as_far_as_they_are_read(valid):
    deal = jax.jit(setup._batches)
    rows = setup.reading_in_batches(valid)
    orders = []
    for seed, key in enumerate(setup.seed_keys(SEEDS)):
        batches = np.asarray(deal(key, 3, valid[seed]))
        assert batches.shape == (setup.TRAINING // setup.BATCH, setup.BATCH)
        assert len(np.unique(batches)) == batches.size
        lengths = np.asarray(valid[seed]).sum(-1)[batches]
        for position, count in enumerate(rows):
            assert (lengths[:, count:] <= position).all()
        orders.append(batches)
    assert not np.array_equal(*orders)
    assert not np.array_equal(orders[0], deal(setup.seed_keys(SEEDS)[0], 4, valid[0]))


def test_held_out_examples_are_other_ones():
    training, validation = setup.make_data(SEEDS)
    held_out = setup.make_held_out(SEEDS)
    assert held_out.label.shape == validation.label.shape
    for other in (training, validation):
        count = held_out.label.shape[1]
        assert not np.array_equal(held_out.inputs.digits, other.inputs.digits[:, :count])


@pytest.fixture(scope="module")
def models():
    """Counting models of two seeds that have learned nothing but have much to say, and what they
    make of a few examples, longest first."""
    lengths = np.array([6, 6, 5, 4, 4, 3, 2, 1])
    rng = np.random.default_rng(0)
    shape = len(SEEDS), len(lengths)
    inputs = ToyInputs(
        jnp.asarray(rng.integers(0, 10, (*shape, 2))),
        jnp.asarray(rng.integers(0, 10, (*shape, 6))),
        jnp.broadcast_to(np.arange(6) < lengths[:, None], (*shape, 6)),
    )

    @jax.jit
    @jax.vmap
    def make(key, inputs):
        params = jax.tree.map(lambda a: 6 * a, toy.init(key))
        return params, clean_pass(setup.GAME.model, params, inputs)

    return make(setup.seed_keys(SEEDS), inputs)


@pytest.mark.parametrize("layer", [pytest.param(0, marks=pytest.mark.long), 1])
def test_the_tree_finds_what_comparing_all_subsets_finds(models, layer):
    params, clean = models

    def compared(params, clean):
        state = clean.states[layer]
        return exact_erasure(
            lambda masked: TOY.family.divergence(
                clean.logits, TOY.logits_from(params, clean.inputs, masked, layer)
            ),
            state,
            clean.inputs.valid,
            jnp.zeros(state.shape[-1]),
            MARGIN,
            smallest=1,
        )

    expected = jax.jit(jax.vmap(compared))(params, clean)
    np.testing.assert_array_equal(erasure(params, clean, layer), expected.kept)
    assert set(np.asarray(expected.size).flat) >= {1, 2}


def test_blocks_give_examples_their_own_attributions_back(models):
    params, clean = models
    noise = methods.state_statistics(clean, 1)
    method = functools.partial(methods.methods.integrated, steps=3)
    given = setup.seed_keys(SEEDS), params, clean, noise, 1
    expected = methods.attribute(method, *given)
    reading = setup.reading(clean.inputs.valid[:, ::2])
    np.testing.assert_allclose(
        methods.attribute(method, *given, 2, reading), expected, rtol=1e-4, atol=1e-6
    )
