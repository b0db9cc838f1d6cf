"""Attention as attribution, on weights made by hand."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, strategies

from diffmask_jax.attribution.attention import (
    received_attention,
    received_by_block,
    received_of_all,
)


def test_the_largest_head_counts_and_queries_are_averaged():
    weights = jnp.array([[[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.6, 0.4]]]])
    found = received_attention(weights, np.array([[True, True]]))
    np.testing.assert_allclose(found, [[(0.9 + 0.6) / 2, (0.8 + 0.5) / 2]], rtol=1e-6)


def test_blocks_count_alike():
    own, valid = jnp.eye(2)[None, None], np.array([[True, True]])
    even = jnp.full((1, 1, 2, 2), 0.25)
    np.testing.assert_allclose(received_by_block([own, even], valid)[:, 0, 0], [0.5, 0.25])
    np.testing.assert_allclose(received_of_all([own, even], valid), [[0.375, 0.375]])


@given(strategies.integers(0, 2**31), strategies.integers(1, 4))
def test_padding_neither_gives_nor_receives(seed, padding):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, 3, 5, 5)).astype(np.float32)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    alone = received_attention(jnp.asarray(weights), np.ones((2, 5), bool))
    padded = rng.random((2, 3, 5 + padding, 5 + padding)).astype(np.float32)
    padded[..., :5, :5], padded[..., :5, 5:] = weights, 0.0
    valid = np.arange(5 + padding) < np.full((2, 1), 5)
    found = received_attention(jnp.asarray(padded), valid)
    np.testing.assert_allclose(found[:, :5], alone, rtol=1e-5)
    assert not found[:, 5:].any()
    assert (alone >= 0).all() and (alone <= 1).all()
