"""The two players' optimisers against PyTorch's, and Lookahead against a plain loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.game import optimizers
from diffmask_jax.game.lagrangian import lagrangian
from diffmask_jax.game.optimizers import Rates, scale_by_standard_deviation

RATES = Rates(probe=3e-4, baseline=1e-3, multiplier=0.3)
STEPS = 20  # Lookahead averages after steps 6, 12 and 18


def random_gradients(seed: int) -> np.ndarray:
    """(STEPS, 4) gradients of very different sizes."""
    rng = np.random.default_rng(seed)
    return (rng.normal(1, 2, (STEPS, 4)) * [1e-3, 0.1, 1, 50]).astype(np.float32)


def trajectory(optimizer, start, gradients):
    """The parameters after every step, stacked along axis 0."""

    def step(carry, gradient):
        params, state = carry
        update, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, update)
        return (params, state), params

    run = jax.jit(lambda start, g: jax.lax.scan(step, (start, optimizer.init(start)), g)[1])
    return run(start, gradients)


def torch_rmsprop(gradients: np.ndarray, rate: float, centered: bool) -> np.ndarray:
    """Where PyTorch goes from zero."""
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    x = torch.zeros(gradients.shape[1], requires_grad=True)
    optimizer = torch.optim.RMSprop([x], lr=rate, alpha=0.99, eps=1e-8, centered=centered)
    seen = []
    for gradient in gradients:
        x.grad = torch.tensor(gradient)
        optimizer.step()
        seen.append(x.detach().numpy().copy())
    return np.stack(seen)


def numpy_rmsprop(gradients: np.ndarray, rate: float, centered: bool) -> np.ndarray:
    """The update of every step, in float64."""
    m = v = np.zeros(gradients.shape[1])
    updates = []
    for g in np.float64(gradients):
        m, v = 0.99 * m + 0.01 * g, 0.99 * v + 0.01 * g**2
        updates.append(-rate * g / (np.sqrt(v - centered * m**2) + 1e-8))
    return np.stack(updates)


def numpy_lookahead(start, updates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fast and slow weights after every step (Zhang et al. 2019, k = 6, α = ½)."""
    fast = slow = np.float64(start)
    seen = []
    for number, update in enumerate(updates, start=1):
        fast = fast + update
        if number % 6 == 0:
            fast = slow = slow + 0.5 * (fast - slow)
        seen.append((fast, slow))
    fast, slow = zip(*seen, strict=True)
    return np.stack(fast), np.stack(slow)


def pair(params) -> optax.LookaheadParams:
    return optax.LookaheadParams(fast=params, slow=params)


def probe_params(gates, baselines) -> dict:
    return {"gates": [jnp.asarray(gates)], "baselines": [jnp.asarray(baselines)]}


# --- the same steps as PyTorch's -------------------------------------------------------------


def test_centered_rmsprop_is_pytorchs():
    gradients = random_gradients(0)
    optimizer = optax.chain(scale_by_standard_deviation(), optax.scale_by_learning_rate(0.1))
    found = trajectory(optimizer, jnp.zeros(4), gradients)
    np.testing.assert_allclose(found, torch_rmsprop(gradients, 0.1, centered=True), rtol=1e-4)


def test_the_references_of_this_file_are_pytorchs_too():
    gradients = random_gradients(1)
    for centered in (True, False):
        expected = torch_rmsprop(gradients, 0.3, centered)
        found = np.cumsum(numpy_rmsprop(gradients, 0.3, centered), axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_dual_is_lookahead_over_rmsprop():
    gradients, start = random_gradients(2), np.array([1, 2, 0, 100], np.float32)
    found = trajectory(optimizers.dual(RATES), pair(jnp.asarray(start)), jnp.asarray(gradients))
    fast, slow = numpy_lookahead(start, numpy_rmsprop(gradients, 0.3, centered=False))
    np.testing.assert_allclose(found.fast, fast, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.slow, slow, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.slow[:5], np.tile(start, (5, 1)))


def test_the_primal_is_lookahead_over_centered_rmsprop_at_two_rates():
    gates, baselines = random_gradients(3), random_gradients(4)
    start = np.array([0, 1, -1, 0.5], np.float32)
    gradients = {"gates": [jnp.asarray(gates)], "baselines": [jnp.asarray(baselines)]}
    found = trajectory(optimizers.primal(RATES), pair(probe_params(start, start)), gradients)
    for name, rate, seen in (("gates", 3e-4, gates), ("baselines", 1e-3, baselines)):
        fast, slow = numpy_lookahead(start, numpy_rmsprop(seen, rate, centered=True))
        np.testing.assert_allclose(found.fast[name][0], fast, atol=2e-6)
        np.testing.assert_allclose(found.slow[name][0], slow, atol=2e-6)


def test_the_probe_warms_up_linearly_and_then_keeps_its_rate():
    gradients = np.ones((5, 4), np.float32) * [[1], [-2], [3], [1], [2]]
    gradients = {"gates": [jnp.asarray(gradients)], "baselines": [jnp.asarray(gradients)]}

    def updates(warmup: int):
        optimizer = optimizers.primal(RATES._replace(warmup=warmup))
        seen = trajectory(optimizer, pair(probe_params(np.zeros(4), np.zeros(4))), gradients)
        return jax.tree.map(lambda x: np.diff(x, axis=0, prepend=0), seen.fast)

    warming, warm = updates(3), updates(0)
    for name in ("gates", "baselines"):
        share = warming[name][0] / warm[name][0]
        expected = np.broadcast_to([[0], [1 / 3], [2 / 3], [1], [1]], (5, 4))
        np.testing.assert_allclose(share, expected, atol=2e-3)


# --- what the game asks of them --------------------------------------------------------------


def test_ten_thousand_equal_gradients_never_turn_into_nan():
    optimizer = optimizers.primal(RATES)
    gradient = probe_params(np.array([1e-6, 0.3, 1.0, 37.7], np.float32), np.full(4, -0.1))
    start = pair(jax.tree.map(jnp.zeros_like, gradient))

    @jax.jit
    def run(start):
        def step(carry, _):
            params, state = carry
            update, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, update), state), update.fast

        return jax.lax.scan(step, (start, optimizer.init(start)), length=10_000)

    (params, _), updates = run(start)
    for array in jax.tree.leaves((params, updates)):
        assert jnp.all(jnp.isfinite(array))
    # The floor, v − m² ≥ 1e-4·v, holds each step of a constant gradient to 100 learning rates.
    assert jnp.max(jnp.abs(updates["gates"][0][:, 3])) < 101 * RATES.probe * 6


def test_zero_gradients_move_nothing():
    zeros = jnp.zeros((STEPS, 4))
    optimizer = optax.chain(scale_by_standard_deviation(), optax.scale_by_learning_rate(0.1))
    np.testing.assert_array_equal(trajectory(optimizer, jnp.ones(4), zeros), np.ones((STEPS, 4)))


def test_multipliers_start_at_one_and_are_projected_onto_their_interval():
    np.testing.assert_array_equal(optimizers.initial_multipliers(3), [1, 1, 1])
    outside = jnp.array([-3.0, 0.0, 0.7, 200.0, 201.0])
    projected = optimizers.project(optax.LookaheadParams(fast=outside, slow=-outside))
    np.testing.assert_allclose(projected.fast, [0, 0, 0.7, 200, 200])
    np.testing.assert_array_equal(projected.slow, [3, 0, 0, 0, 0])


@functools.partial(jax.jit, static_argnames="rate")
def play_dual(excess, rate: float):
    """λ after every one of 60 steps against a constant D − m, one game an entry."""
    optimizer = optimizers.dual(Rates(multiplier=rate))

    def step(carry, _):
        multipliers, state = carry
        gradient = jax.grad(lambda m: lagrangian(jnp.zeros(2), excess, m).sum())(multipliers.fast)
        update, state = optimizer.update(gradient, state, multipliers)
        multipliers = optimizers.project(optax.apply_updates(multipliers, update))
        return (multipliers, state), multipliers

    start = pair(optimizers.initial_multipliers(2))
    return jax.lax.scan(step, (start, optimizer.init(start)), length=60)[1]


def test_a_multiplier_rises_while_the_divergence_is_over_its_margin_and_falls_below_it():
    seen = play_dual(jnp.array([0.02, -0.02]), rate=0.3)
    assert jnp.all(jnp.diff(seen.slow[5::6, 0]) > 0) and seen.fast[0, 0] > 1
    assert jnp.all(jnp.diff(seen.slow[5::6, 1]) <= 0) and seen.fast[0, 1] < 1
    for multipliers in seen:
        assert jnp.all(multipliers >= 0)
    assert seen.fast[-1, 1] == 0


def test_a_multiplier_never_leaves_its_interval():
    seen = play_dual(jnp.array([5.0, -5.0]), rate=50.0)
    for multipliers in seen:
        assert multipliers.min() == 0 and multipliers.max() <= 200
    assert seen.fast[-1, 0] > 100
