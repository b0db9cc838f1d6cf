"""Attention: as JAX's own has it, whole or a few heads at a time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.models.attention import LONG, WEIGHTS, attend

HEADS, LENGTH, WIDTH = 4, 256, 8
BIASES = [(2, 1, 1, LENGTH), (1, 1, LENGTH, LENGTH), (1, HEADS, LENGTH, LENGTH)]


class Attending(nn.Module):
    """A block that does nothing else."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, query, key, value, bias):
        return attend(self, query, key, value, bias, nn.Dropout(self.dropout, deterministic=False))


def _drawn(shape: tuple[int, ...], seed: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _inputs(length: int, bias: tuple[int, ...]) -> tuple[jax.Array, ...]:
    shape = (2, HEADS, length, WIDTH)
    return *(_drawn(shape, seed) for seed in range(3)), _drawn(bias, 3)


def _jax_s_own(query, key, value, bias):
    first, second, third = (x.swapaxes(1, 2) for x in (query, key, value))
    return jax.nn.dot_product_attention(first, second, third, bias=bias).swapaxes(1, 2)


def _with_gradients(attended, inputs):
    return jax.jit(jax.value_and_grad(lambda *x: jnp.sum(jnp.sin(attended(*x))), range(4)))(*inputs)


@pytest.mark.parametrize("bias", BIASES)
def test_over_long_texts_it_is_jax_s_own_and_so_are_its_gradients(bias):
    assert HEADS * LENGTH * LENGTH >= LONG
    inputs = _inputs(LENGTH, bias)
    ours = _with_gradients(lambda *x: Attending().apply({}, *x), inputs)
    theirs = _with_gradients(_jax_s_own, inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5, rtol=1e-4), ours, theirs)


def test_over_short_texts_too():
    inputs = _inputs(16, (2, 1, 1, 16))
    found = Attending().apply({}, *inputs)
    np.testing.assert_allclose(found, _jax_s_own(*inputs), atol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU takes a few heads at a time")
def test_the_weights_of_long_texts_are_never_all_in_memory():
    def gradients(length: int) -> int:
        inputs = _inputs(length, (1, 1, 1, length))
        over = jax.grad(lambda *x: jnp.sum(jnp.sin(Attending().apply({}, *x))), range(3))
        memory = jax.jit(over).lower(*inputs).compile().memory_analysis()
        return memory.temp_size_in_bytes // (2 * HEADS * length * length * 4)

    # Scores and what their gradient needs are several times their number; here they are a share.
    assert gradients(LENGTH // 2) >= 1
    assert gradients(4 * LENGTH) < 1


def test_who_asks_for_the_weights_gets_them_of_long_texts_too():
    inputs = _inputs(LENGTH, BIASES[0])
    found, kept = Attending().apply({}, *inputs, mutable=[WEIGHTS])
    (weights,) = jax.tree.leaves(kept)
    np.testing.assert_allclose(jnp.sum(weights, -1), 1.0, atol=1e-5)
    np.testing.assert_allclose(weights @ inputs[2], found, atol=1e-5)
    np.testing.assert_allclose(found, Attending().apply({}, *inputs), atol=1e-5)


def test_training_drops_weights_of_long_texts_and_is_right_on_average():
    query, key, _, bias = _inputs(LENGTH, BIASES[0])
    inputs = query, key, jnp.ones_like(query), bias  # so that what comes out is the weights' sum
    drawn = Attending(0.25).apply({}, *inputs, rngs={"dropout": jax.random.key(0)})
    again = Attending(0.25).apply({}, *inputs, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(drawn, again)
    sums = drawn[..., 0]
    assert float(jnp.std(sums)) > 0.01  # rows, heads and texts draw for themselves
    assert len(np.unique(sums)) > sums.size / 2
    np.testing.assert_allclose(jnp.mean(sums), 1.0, atol=5 * jnp.std(sums) / sums.size**0.5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU takes a few heads at a time")
def test_the_dropout_of_long_texts_is_drawn_once_and_not_again_for_the_gradient():
    inputs = _inputs(LENGTH, BIASES[0])

    def total(*inputs):
        return jnp.sum(Attending(0.25).apply({}, *inputs, rngs={"dropout": jax.random.key(0)}))

    program = jax.make_jaxpr(jax.grad(total))(*inputs)
    assert str(program).count("random_bits[") == 1
