"""The two players' optimisers against PyTorch's, and Lookahead against a plain loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.game import multipliers as duals
from diffmask_jax.game import players
from diffmask_jax.game.lagrangian import lagrangian
from diffmask_jax.game.optimizers import averaged, scale_by_standard_deviation, standing_still
from diffmask_jax.game.players import Rates

RATES = Rates(probe=3e-4, baseline=1e-3, multiplier=0.3, warmup=0)
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
    dual = players.authors(RATES).dual
    found = trajectory(dual, pair(jnp.asarray(start)), jnp.asarray(gradients))
    fast, slow = numpy_lookahead(start, numpy_rmsprop(gradients, 0.3, centered=False))
    np.testing.assert_allclose(found.fast, fast, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.slow, slow, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.slow[:5], np.tile(start, (5, 1)))


def test_the_primal_is_lookahead_over_centered_rmsprop_at_two_rates():
    gates, baselines = random_gradients(3), random_gradients(4)
    start = np.array([0, 1, -1, 0.5], np.float32)
    gradients = {"gates": [jnp.asarray(gates)], "baselines": [jnp.asarray(baselines)]}
    found = trajectory(players.authors(RATES).primal, pair(probe_params(start, start)), gradients)
    for name, rate, seen in (("gates", 3e-4, gates), ("baselines", 1e-3, baselines)):
        fast, slow = numpy_lookahead(start, numpy_rmsprop(seen, rate, centered=True))
        np.testing.assert_allclose(found.fast[name][0], fast, atol=2e-6)
        np.testing.assert_allclose(found.slow[name][0], slow, atol=2e-6)


def test_the_probe_warms_up_linearly_and_then_keeps_its_rate():
    gradients = np.ones((5, 4), np.float32) * [[1], [-2], [3], [1], [2]]
    gradients = {"gates": [jnp.asarray(gradients)], "baselines": [jnp.asarray(gradients)]}

    def updates(warmup: int):
        optimizer = players.authors(RATES._replace(warmup=warmup)).primal
        seen = trajectory(optimizer, pair(probe_params(np.zeros(4), np.zeros(4))), gradients)
        return jax.tree.map(lambda x: np.diff(x, axis=0, prepend=0), seen.fast)

    warming, warm = updates(3), updates(0)
    for name in ("gates", "baselines"):
        share = warming[name][0] / warm[name][0]
        expected = np.broadcast_to([[0], [1 / 3], [2 / 3], [1], [1]], (5, 4))
        np.testing.assert_allclose(share, expected, atol=2e-3)


def test_settling_players_rates_warm_up_and_fall_with_the_root_of_the_steps(monkeypatch):
    monkeypatch.setattr(players, "FALL", 2)
    gradients = np.ones((6, 4), np.float32) * [[1], [-2], [3], [1], [2], [1]]
    gradients = {"gates": [jnp.asarray(gradients)], "baselines": [jnp.asarray(gradients)]}
    start = pair(probe_params(np.zeros(4), np.zeros(4)))

    def fast_moves(optimizer):
        fast = trajectory(optimizer, start, gradients).fast
        return jax.tree.map(lambda x: np.diff(x, axis=0, prepend=0), fast)

    found = fast_moves(players.settling(0.1, RATES._replace(warmup=3)).primal)
    flat = fast_moves(
        averaged(players.descent(scale_by_standard_deviation(), RATES.probe, RATES.baseline))
    )
    t = np.arange(6)[:, None]
    for name in ("gates", "baselines"):
        share = found[name][0] / flat[name][0]
        expected = np.broadcast_to(np.minimum(1, t / 3) / np.sqrt(1 + t / 2), (6, 4))
        np.testing.assert_allclose(share, expected, atol=2e-3)


# --- what the game asks of them --------------------------------------------------------------


def test_ten_thousand_equal_gradients_never_turn_into_nan():
    optimizer = players.authors(RATES).primal
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
    assert players.authors(RATES).multiplier == 1
    outside = jnp.array([-3.0, 0.0, 0.7, 200.0, 201.0])
    projected = duals.project(optax.LookaheadParams(fast=outside, slow=-outside))
    np.testing.assert_allclose(projected.fast, [0, 0, 0.7, 200, 200])
    np.testing.assert_array_equal(projected.slow, [3, 0, 0, 0, 0])


@functools.partial(jax.jit, static_argnames="rate")
def play_dual(excess, rate: float):
    """λ after every one of 60 steps against a constant D − m, one game an entry."""
    optimizer = players.authors(Rates(multiplier=rate)).dual

    def step(carry, _):
        multipliers, state = carry
        gradient = jax.grad(lambda m: lagrangian(jnp.zeros(2), excess, m).sum())(multipliers.fast)
        update, state = optimizer.update(gradient, state, multipliers)
        multipliers = duals.project(optax.apply_updates(multipliers, update))
        return (multipliers, state), multipliers

    start = pair(jnp.ones(2))
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


# --- what is not played stands still ----------------------------------------------------------


def test_what_has_no_gradient_stands_still_and_so_do_its_moments():
    """The steps taken are those of the same gradients without the zeros between them."""
    gradients = random_gradients(5)
    sparse = np.zeros((2 * STEPS, 4), np.float32)
    sparse[::2] = gradients
    for scale in (scale_by_standard_deviation(), optax.scale_by_rms(0.99, 1e-8)):
        optimizer = optax.chain(standing_still(scale), optax.scale_by_learning_rate(0.1))
        dense = trajectory(optimizer, jnp.zeros(4), jnp.asarray(gradients))
        found = trajectory(optimizer, jnp.zeros(4), jnp.asarray(sparse))
        np.testing.assert_array_equal(found[::2], found[1::2])
        np.testing.assert_allclose(found[1::2], dense, rtol=1e-5)


def test_lookahead_pulls_nothing_back_that_was_not_played():
    """Layer 0 is played at steps 1 and 12 alone, layer 1 at every one."""
    gradients = np.full((12, 2), -0.1, np.float32)
    gradients[1:11, 0] = 0.0
    found = trajectory(players.authors(RATES).dual, pair(jnp.ones(2)), jnp.asarray(gradients))
    np.testing.assert_allclose(found.fast[:11, 0], 4.0, rtol=1e-5)
    np.testing.assert_array_equal(found.slow[:11, 0], 1.0)
    moved = 0.3 / np.sqrt(0.01) + 0.3 / np.sqrt(0.01 + 0.01 * 0.99)  # by RMSprop, in two steps
    assert found.fast[11, 0] == found.slow[11, 0] == pytest.approx(1 + moved / 2, rel=1e-5)
    assert found.slow[5, 1] == pytest.approx(found.fast[5, 1]) and found.slow[5, 1] > 1


# --- the running average ----------------------------------------------------------------------


def test_the_average_weighs_every_step_as_its_polynomial_says():
    """After T steps, step t has the weight ∏ of what later steps left of it (η = 3: by hand)."""
    gradients, eta = random_gradients(6), 3.0
    optimizer = averaged(optax.sgd(0.1), eta)
    found = trajectory(optimizer, pair(jnp.ones(4)), jnp.asarray(gradients))
    fast = 1 - 0.1 * np.cumsum(np.float64(gradients), axis=0)
    np.testing.assert_allclose(found.fast, fast, rtol=1e-4)
    slow = np.ones(4)
    for t, now in enumerate(fast):
        slow = slow + (eta + 1) / (t + eta + 1) * (now - slow)
        np.testing.assert_allclose(found.slow[t], slow, rtol=1e-3)


def test_the_average_of_a_standstill_is_where_it_stands_and_the_first_step_has_no_memory():
    optimizer = averaged(optax.sgd(1.0))
    found = trajectory(optimizer, pair(jnp.zeros(2)), jnp.array([[1.0, 2.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(found.slow, [[-1, -2], [-1, -2]])


# --- the controller ---------------------------------------------------------------------------


def controlled(excess, margin=0.1, start=2.0, **settings):
    """λ after every step against given D − m, (steps, L)."""
    control = duals.control(margin, **settings)
    start = pair(jnp.full(excess.shape[1], start))
    return trajectory(control, start, -jnp.asarray(excess)).fast


def test_the_controller_is_its_formula():
    excess = 0.2 * np.random.default_rng(7).normal(size=(50, 3))
    settings = {"integral": 0.03, "proportional": 0.4, "memory": 0.8}
    found = controlled(excess.astype(np.float32), **settings)
    log, mean, weight = np.full(3, np.log(2.0)), np.zeros(3), 0.0
    for now, seen in zip(excess, found, strict=True):
        mean, weight = 0.8 * mean + 0.2 * now / 0.1, 0.8 * weight + 0.2
        even = np.clip(mean / weight, -1, 1)
        log = log + 0.03 * even
        np.testing.assert_allclose(seen, np.exp(log + 0.4 * even), rtol=1e-4)


def test_the_controller_is_of_float32_where_jax_has_doubles_too():
    """With JAX_ENABLE_X64 a step would else not give back what it was given."""
    with jax.enable_x64(True):
        control, lambdas = duals.control(0.1), pair(jnp.ones(3, jnp.float32))
        _, state = jax.eval_shape(control.update, lambdas.fast, control.init(lambdas), lambdas)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float32)}


def test_a_layer_that_is_not_played_keeps_its_multiplier():
    excess = np.array([[0.3, 0.3], [0.0, 0.3], [0.0, 0.3]], np.float32)
    found = controlled(excess)
    np.testing.assert_array_equal(found[1:, 0], found[0, 0])
    assert np.all(np.diff(found[:, 1]) > 0)


@pytest.mark.parametrize("unit", [0.1, 10.0])
def test_our_players_know_no_unit_of_the_divergence(unit):
    """c·D against c·m: λ/c at every step, from its first on; at its lower bound, too."""
    excess = np.random.default_rng(8).normal(-0.05, 0.2, (400, 3))

    def play(c):
        start = players.settling(0.1 * c, RATES).multiplier
        return start, controlled((c * excess).astype(np.float32), 0.1 * c, start, integral=0.1)

    (first, expected), (other, found) = play(1.0), play(unit)
    assert other == pytest.approx(first / unit)
    assert expected.min() < 0.02
    np.testing.assert_allclose(found, expected / unit, rtol=1e-3)


def test_of_a_margin_next_to_nothing_a_multiplier_starts_and_stays_within_its_bounds():
    start = players.settling(1e-6, RATES).multiplier
    found = controlled(np.full((50, 1), -1e-6, np.float32), 1e-6, start, integral=0.1)
    assert start == duals.LARGEST and np.all((found > 0) & (found <= duals.LARGEST))


def test_a_multiplier_stays_within_its_bounds_and_comes_back_from_them():
    excess = np.concatenate([np.full((4000, 1), 5.0), np.full((9000, 1), -0.1)])
    found = controlled(excess.astype(np.float32), integral=0.01)[:, 0]
    assert found.max() <= duals.LARGEST * np.exp(1.0) and found.min() > 0
    assert found[3999] > 100 > 0.1 > found[-1]


@functools.partial(jax.jit, static_argnames=("dual", "steps"))
def play_square(dual, steps: int = 3000):
    """min over x, max over λ ≥ 0 of x² + λ·(1 − x − m): the least square that reaches 1 − m = ½.

    Its saddle point is x = ½, λ = 2x = 1.
    """
    margin, primal = 0.5, optax.sgd(0.02)

    def step(carry, _):
        x, multipliers, states = carry
        slope = jax.grad(lambda x: x**2 + multipliers.fast[0] * (1 - x))(x)
        move, moments = primal.update(slope, states[0])
        excess = jnp.array([1 - x - margin])
        ascent, memory = dual.update(-excess, states[1], multipliers)
        multipliers = duals.project(optax.apply_updates(multipliers, ascent))
        x = optax.apply_updates(x, move)
        return (x, multipliers, (moments, memory)), (x, multipliers.fast[0])

    start = pair(jnp.array([5.0]))
    first = jnp.zeros(()), start, (primal.init(jnp.zeros(())), dual.init(start))
    return jax.lax.scan(step, first, length=steps)[1]


def test_the_controller_finds_the_saddle_point_of_a_game_that_is_known():
    x, multiplier = play_square(duals.control(0.5, 0.01))
    assert x[-1] == pytest.approx(0.5, abs=1e-3)
    assert multiplier[-1] == pytest.approx(1.0, abs=1e-2)


def test_the_proportional_part_is_what_damps_it():
    """The same game swings wider without it."""
    swings = [
        float(jnp.abs(play_square(duals.control(0.5, 0.03, part))[0][300:] - 0.5).max())
        for part in (0.0, 1.0)
    ]
    assert swings[1] < swings[0] / 2
