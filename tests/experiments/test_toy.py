"""The toy experiment's batches: all examples are dealt out, and what is read of them suffices."""

import jax
import numpy as np
import pytest

from experiments.toy import setup

SEEDS = [0, 1]


@pytest.fixture(scope="module")
def valid():
    """Which positions of the training examples hold a digit, (S, N, T)."""
    return setup.make_data(SEEDS)[0].inputs.valid


@pytest.mark.parametrize("stretches", [1, 2, 10])
def test_reading_holds_for_every_seed(valid, stretches):
    rows = setup.reading(valid, stretches)
    lengths = np.asarray(valid).sum(-1)
    for position, count in enumerate(rows):
        assert (lengths[:, count:] <= position).all()
    assert len(set(rows)) == stretches and list(rows) == sorted(rows, reverse=True)


def test_an_epoch_deals_out_examples_once_longest_first_as_far_as_they_are_read(valid):
    deal = jax.jit(setup._batches)
    rows = setup.reading_in_batches(valid, 10)
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
