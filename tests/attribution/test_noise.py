"""The optimisation of the two noise-based methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution.noise import RATE, minimise

B, T, STEPS = 3, 4, 30
TARGET = jax.random.normal(jax.random.key(0), (B, T))
START = jnp.zeros((B, T))


def bowl(x, key, target=TARGET):
    return jnp.sum((x - target) ** 2, axis=-1)


def test_it_takes_pytorchs_steps():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    x = torch.zeros((B, T), requires_grad=True)
    target = torch.tensor(np.asarray(TARGET))
    optimizer = torch.optim.RMSprop([x], lr=RATE, alpha=0.99, eps=1e-8, centered=True)
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((x - target) ** 2).sum().backward()
        optimizer.step()
    found = minimise(jax.random.key(1), bowl, START, STEPS)
    np.testing.assert_allclose(found, x.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_it_finds_the_minimum_of_a_noisy_loss():
    def noisy(x, key):
        return bowl(x, key) + jnp.sum(x * jax.random.normal(key, x.shape), axis=-1)

    found = minimise(jax.random.key(2), noisy, START, 500)
    assert jnp.max(jnp.abs(found - TARGET)) < 0.6


def test_every_step_gets_a_key_of_its_own():
    """A gradient of pure noise makes the path a random walk: no two runs or steps agree."""

    def noise(x, key):
        return jnp.sum(x * jax.random.normal(key, x.shape), axis=-1)

    one, two = (minimise(jax.random.key(3), noise, START, steps) for steps in (1, 2))
    np.testing.assert_array_less(0.9, jnp.abs(one))  # the first step is 1/√(0.01 − 0.0001) rates
    assert jnp.any(jnp.sign(two - one) != jnp.sign(one))
    assert not np.array_equal(one, minimise(jax.random.key(4), noise, START, 1))


def test_examples_never_touch_one_another():
    whole = minimise(jax.random.key(5), bowl, START, STEPS)
    rows = jnp.array([2, 0])
    part = minimise(
        jax.random.key(5), lambda x, key: bowl(x, key, TARGET[rows]), START[rows], STEPS
    )
    np.testing.assert_allclose(part, whole[rows], rtol=1e-5)
