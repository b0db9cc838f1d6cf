"""One layer of many, by an int or traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.game.model import at_layer

LAYERS = 3
STATES = tuple(jax.random.normal(k, (3, 5, 6)) for k in jax.random.split(jax.random.key(0), LAYERS))


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_layer_is_the_same_as_an_int_and_traced(layer):
    expected = STATES[layer]
    np.testing.assert_array_equal(at_layer(STATES, layer), expected)
    np.testing.assert_array_equal(jax.jit(at_layer)(STATES, layer), expected)


def test_a_layer_as_an_int_may_be_of_any_shape():
    assert at_layer((jnp.zeros(3), jnp.ones((2, 2))), 1).shape == (2, 2)
