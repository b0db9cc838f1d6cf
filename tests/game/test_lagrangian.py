"""The game: one scalar, two players, and nothing leaks from one to the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.game.lagrangian import lagrangian

PHI, MULTIPLIER = jnp.array([0.3, -1.2]), jnp.array([2.0, 5.0])


def sparsity(phi):
    return jnp.sin(phi)


def excess(phi):
    return phi**2 - 0.5


def game(phi, multiplier):
    return lagrangian(sparsity(phi), excess(phi), multiplier).sum()


def test_the_value_is_the_sparsity():
    found = lagrangian(sparsity(PHI), excess(PHI), MULTIPLIER)
    np.testing.assert_allclose(found, sparsity(PHI), rtol=1e-6)


def test_the_probe_descends_sparsity_plus_weighted_excess():
    found = jax.grad(game)(PHI, MULTIPLIER)
    np.testing.assert_allclose(found, jnp.cos(PHI) + MULTIPLIER * 2 * PHI, rtol=1e-6)


def test_the_multiplier_ascends_the_excess():
    found = jax.grad(game, argnums=1)(PHI, MULTIPLIER)
    np.testing.assert_allclose(found, -excess(PHI), rtol=1e-6)


def test_each_argument_has_its_own_slope():
    slopes = jax.grad(lambda *arguments: lagrangian(*arguments), argnums=(0, 1, 2))
    assert [float(slope) for slope in slopes(jnp.array(0.7), jnp.array(3.0), jnp.array(4.0))] == [
        1.0,  # sparsity
        4.0,  # excess, weighted by λ for the probe alone
        -3.0,  # λ, by the excess alone
    ]


@pytest.mark.parametrize("argument", [0, 1])
def test_no_second_order_term_couples_the_players(argument):
    """How one player's gradient changes with the other's move: only as λ·∂D, never through D·λ."""
    mixed = jax.jacobian(jax.grad(game, argnums=1), argnums=argument)(PHI, MULTIPLIER)
    np.testing.assert_array_equal(mixed, np.zeros((2, 2)))
