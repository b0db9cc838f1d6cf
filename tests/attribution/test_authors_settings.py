"""The authors' settings of the compared methods, as their paper and their code have them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution import noise, per_example
from diffmask_jax.attribution.guan import tolerated_noise
from diffmask_jax.attribution.methods import ON_TEXT
from diffmask_jax.attribution.per_example import Settings
from diffmask_jax.attribution.schulz import Statistics, restrict_flow
from experiments.toy import methods as toy

KEY, STATE, VALID = jax.random.key(0), jnp.ones((2, 3, 4)), jnp.ones((2, 3), bool)


def distance(state):
    return jnp.sum((state - STATE) ** 2, axis=(1, 2))


@pytest.mark.parametrize("method", [per_example.diffmask, per_example.reinforce])
def test_gates_and_multipliers_of_an_example_start_at_5_and_1(method):
    gates = method(KEY, distance, STATE, VALID, jnp.zeros(4), Settings(steps=0))
    np.testing.assert_array_equal(gates.logits, np.full((2, 3), 5.0))
    np.testing.assert_array_equal(gates.multipliers, np.ones(2))


def test_bottlenecks_start_open_and_noise_starts_small():
    statistics = Statistics(jnp.zeros(4), jnp.ones(4))
    opened = restrict_flow(KEY, distance, STATE, VALID, statistics, steps=0)
    np.testing.assert_allclose(opened, 1 / (1 + np.exp(-5)), rtol=1e-6)
    tolerated = tolerated_noise(KEY, lambda state: state, STATE, VALID, steps=0)
    np.testing.assert_allclose(tolerated, 1 / np.log1p(np.exp(-5)), rtol=1e-5)


def test_weights_rates_and_steps():
    def of(method):
        return method.attribute.keywords

    assert inspect.signature(restrict_flow).parameters["weight"].default == 10
    assert noise.RATE == 0.1 and per_example.MEMORY == 0.99 and per_example.LARGEST_LOGIT == 10
    assert of(ON_TEXT["schulz"]) == {"steps": 50}
    assert of(ON_TEXT["guan"]) == {"steps": 50, "weight": 0.1}
    assert toy.METHODS["schulz"].keywords == {"steps": 500}
    assert toy.METHODS["guan"].keywords == {"steps": 500, "weight": 1.0}
