"""The amortised loss on a small network: who gets a gradient, and that padding has no say."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from diffmask_jax.game import hard_concrete, probes
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.drawing import sample_gates
from diffmask_jax.game.lagrangian import lagrangian
from diffmask_jax.game.masking import mask_state
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import (
    Game,
    clean_pass,
    masked_logits,
    mean_keep,
    mean_log_keep,
    objective,
)
from diffmask_jax.game.probes import hidden_probe, input_probe

B, T, D, LAYERS, MARGIN = 3, 4, 5, 2, 0.1
KEYS = jax.random.split(jax.random.key(1), B)


class Inputs(NamedTuple):
    embedded: Array
    valid: Array


def _rest(params, inputs: Inputs, state, layer):
    for k, block in enumerate(params["blocks"]):
        state = jnp.where(jnp.asarray(layer) <= k, jnp.tanh(state @ block), state)
    return jnp.where(inputs.valid[..., None], state, 0.0).sum(1) @ params["head"]


def _states(params, inputs: Inputs):
    states = [inputs.embedded]
    for block in params["blocks"]:
        states.append(jnp.tanh(states[-1] @ block))
    return _rest(params, inputs, states[-1], LAYERS - 1), tuple(states)


MODEL = Model(_states, _rest, ("0", "1"), CATEGORICAL)
GAMES = {
    name: Game(MODEL, probe, MARGIN, mean_log_keep)
    for name, probe in (("input", input_probe(6)), ("hidden", hidden_probe(6)))
}
both = pytest.mark.parametrize("name", GAMES)


def _normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


MODEL_PARAMS = {"blocks": [_normal(0, D, D)], "head": 2 * _normal(2, D, 4)}
INPUTS = Inputs(_normal(3, B, T, D), jnp.arange(T) < jnp.array([[4], [3], [1]]))
CLEAN = clean_pass(GAMES["input"].model, MODEL_PARAMS, INPUTS)
MULTIPLIERS = jnp.array([2.0, 5.0])


@functools.cache
def probe_params(name: str, shift: float = 0.0):
    """Gates near logit `shift`, half open by default, so that every gradient flows."""
    probe = GAMES[name].probe
    baselines = [0.3 * _normal(4 + k, D) for k in range(probe.baselines(LAYERS))]
    init = functools.partial(probes.init, probe=probe, states=CLEAN.states, baselines=baselines)
    shapes = jax.eval_shape(init, KEYS[0])["gates"]
    gates = jax.tree.map(lambda leaf: 0.3 * _normal(leaf.size, *leaf.shape), shapes)
    return {"gates": [g | {"shift": jnp.asarray(shift)} for g in gates], "baselines": baselines}


@functools.partial(jax.jit, static_argnames=("name", "static_layer"))
def play(params, multipliers, clean, *, name: str, static_layer=None, layer=None):
    """((loss, diagnostics), (gradient for the probe, gradient for the multipliers))."""
    layer = layer if static_layer is None else static_layer
    return jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(
        params, multipliers, KEYS, layer, game=GAMES[name], model_params=MODEL_PARAMS, clean=clean
    )


def assert_trees_close(found, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


@both
def test_the_loss_is_the_batch_mean_of_the_game(name):
    """Rebuilt from its parts, gradients included."""
    layer, game = 1, GAMES[name]

    def rebuilt(params, multipliers):
        votes = probes.vote_logits(game.probe, params, CLEAN.states)
        rows = [tuple(vote[row] for vote in votes) for row in range(B)]
        gates = [sample_gates(game.probe, KEYS[row], rows[row])[layer] for row in range(B)]
        gate = jnp.stack(gates)
        target = {"input": 0, "hidden": layer}[name]
        state = mask_state(CLEAN.states[target], gate, params["baselines"][target])
        logits = _rest(MODEL_PARAMS, INPUTS, state, target)
        divergence = CATEGORICAL.divergence(CLEAN.logits, logits)
        log_keep = probes.log_keep_probabilities(game.probe, votes)[layer]
        sparsity = [log_keep[row, :n].mean() for row, n in enumerate((4, 3, 1))]
        losses = lagrangian(jnp.stack(sparsity), divergence - MARGIN, multipliers[layer][None])
        return losses.mean(), divergence.mean()

    params = probe_params(name)
    (loss, diagnostics), slopes = play(params, MULTIPLIERS, CLEAN, name=name, static_layer=layer)
    (expected, divergence), expected_slopes = jax.jit(
        jax.value_and_grad(rebuilt, argnums=(0, 1), has_aux=True)
    )(params, MULTIPLIERS)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert_trees_close(slopes, expected_slopes, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(diagnostics.divergence, [0, divergence], rtol=1e-4)
    assert divergence > 1e-3
    np.testing.assert_array_equal(diagnostics.played, [0, 1])
    np.testing.assert_array_equal(diagnostics.multiplier, MULTIPLIERS)
    assert diagnostics.loss == loss


@both
def test_gradients_reach_gates_and_the_baseline_in_play(name):
    _, (params, multipliers) = play(
        probe_params(name), MULTIPLIERS, CLEAN, name=name, static_layer=1
    )
    gates = [bool(jnp.any(gate["first"]["kernel"] != 0)) for gate in params["gates"]]
    baselines = [bool(jnp.any(baseline != 0)) for baseline in params["baselines"]]
    assert gates == {"input": [True, True], "hidden": [False, True]}[name]
    assert baselines == {"input": [True], "hidden": [False, True]}[name]
    assert (multipliers != 0).tolist() == [False, True]


@both
@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_traced_layer_plays_the_same_game(name, layer):
    arguments = probe_params(name), MULTIPLIERS, CLEAN
    static = play(*arguments, name=name, static_layer=layer)
    traced = play(*arguments, name=name, layer=jnp.asarray(layer))
    assert_trees_close(traced, static, rtol=1e-4, atol=1e-6)


def alone(name, params, row: int, depth: int):
    """What one example plays at one depth: ((loss, diagnostics), gradients)."""
    clean = jax.tree.map(lambda array: array[row : row + 1], CLEAN)
    return pulled(name, (depth,))(params, MULTIPLIERS, KEYS[row : row + 1], clean)


@functools.cache
def pulled(name, depths: tuple[int, ...]):
    """(parameters, multipliers, keys, clean) -> ((loss, diagnostics), gradients), each example at
    a depth of its own, one alone at an int."""
    layer = np.array(depths) if len(depths) > 1 else depths[0]

    def play(params, multipliers, keys, clean):
        return objective(
            params, multipliers, keys, layer,
            game=PULLED[name], model_params=MODEL_PARAMS, clean=clean,
        )  # fmt: skip

    return jax.jit(jax.value_and_grad(play, argnums=(0, 1), has_aux=True))


PULLED = {name: game._replace(pull=0.1) for name, game in GAMES.items()}
DEPTHS = (1, 0, 1)


@both
def test_examples_may_play_depths_of_their_own(name):
    """Two examples at depth 1 and one at depth 0: each depth has half of the say."""
    params = probe_params(name)
    found = pulled(name, DEPTHS)(params, MULTIPLIERS, KEYS, CLEAN)
    parts = [alone(name, params, row, depth) for row, depth in enumerate(DEPTHS)]
    weights = (0.25, 0.5, 0.25)

    def mean(*values):
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    (loss, seen), slopes = found
    np.testing.assert_allclose(loss, mean(*(loss for (loss, _), _ in parts)), rtol=1e-5)
    expected = jax.tree.map(mean, *(slopes for _, slopes in parts))
    assert_trees_close(slopes, expected, rtol=1e-4, atol=1e-6)
    assert all(map(np.any, jax.tree.leaves(slopes)))
    told = [told for (_, told), _ in parts]
    np.testing.assert_allclose(seen.played, [1 / 3, 2 / 3], rtol=1e-6)
    for found, *each in zip(seen[2:5], *(told[2:5] for told in told), strict=True):
        np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)


@both
def test_a_depth_that_nobody_plays_has_no_say(name):
    params, ones = probe_params(name), np.ones(B, int)
    found = jax.jit(
        jax.value_and_grad(
            lambda params, multipliers: objective(
                params, multipliers, KEYS, ones,
                game=GAMES[name], model_params=MODEL_PARAMS, clean=CLEAN,
            ),
            argnums=(0, 1),
            has_aux=True,
        )
    )(params, MULTIPLIERS)  # fmt: skip
    expected = play(params, MULTIPLIERS, CLEAN, name=name, static_layer=1)
    assert_trees_close(found, expected, rtol=1e-4, atol=1e-6)


@both
def test_the_pull_is_the_mean_square_of_the_votes_of_a_gate(name):
    """Two votes for the input probe at depth 1, one for the hidden probe."""
    params = probe_params(name)
    (plain, _), _ = play(params, MULTIPLIERS, CLEAN, name=name, static_layer=1)
    pull = functools.partial(objective, game=PULLED[name], model_params=MODEL_PARAMS, clean=CLEAN)
    pulled, _ = jax.jit(pull, static_argnums=3)(params, MULTIPLIERS, KEYS, 1)
    votes = probes.vote_logits(GAMES[name].probe, params, CLEAN.states)
    squares = [np.square(vote) for vote in {"input": votes, "hidden": votes[1:]}[name]]
    rows = [sum(square[row, :n].mean() for square in squares) for row, n in enumerate((4, 3, 1))]
    assert pulled - plain == pytest.approx(0.05 * np.mean(rows), rel=1e-4)


@both
def test_open_gates_change_nothing(name):
    params = probe_params(name, shift=50.0)
    (loss, seen), (_, slopes) = play(params, MULTIPLIERS, CLEAN, name=name, static_layer=1)
    np.testing.assert_allclose(seen.divergence, 0, atol=1e-5)
    assert seen.masked.sum() == 0 and seen.agreement.tolist() == [0, 1]
    assert loss == pytest.approx(0, abs=1e-5)
    assert slopes[1] == pytest.approx(MARGIN, abs=1e-5)  # −(D − m): λ falls


@both
def test_shut_gates_leave_the_baseline_alone(name):
    params = probe_params(name, shift=-50.0)
    (_, seen), _ = play(params, MULTIPLIERS, CLEAN, name=name, static_layer=0)
    state = jnp.broadcast_to(params["baselines"][0], CLEAN.states[0].shape)
    logits = _rest(MODEL_PARAMS, INPUTS, state, 0)
    expected = CATEGORICAL.divergence(CLEAN.logits, logits).mean()
    assert seen.masked.tolist() == [1, 0]
    np.testing.assert_allclose(seen.divergence, [expected, 0], rtol=1e-5)
    agreement = np.mean(np.argmax(logits, -1) == np.argmax(CLEAN.logits, -1))
    assert seen.agreement[0] == pytest.approx(agreement)


@both
def test_nothing_that_stands_in_the_padding_counts(name):
    arguments = {"name": name, "static_layer": 1}
    expected = play(probe_params(name), MULTIPLIERS, CLEAN, **arguments)
    hidden = jnp.where(INPUTS.valid[..., None], INPUTS.embedded, 7.0)
    clean = clean_pass(GAMES[name].model, MODEL_PARAMS, INPUTS._replace(embedded=hidden))
    assert jnp.any(clean.states[1] != CLEAN.states[1])
    found = play(probe_params(name), MULTIPLIERS, clean, **arguments)
    assert_trees_close(found, expected, rtol=1e-5, atol=1e-7)


@both
def test_more_padding_changes_nothing(name):
    """With all gates shut, since what noise is drawn depends on the shape."""
    params = probe_params(name, shift=-50.0)
    longer = Inputs(
        jnp.pad(INPUTS.embedded, ((0, 0), (0, 3), (0, 0)), constant_values=3.0),
        jnp.pad(INPUTS.valid, ((0, 0), (0, 3))),
    )
    clean = clean_pass(GAMES[name].model, MODEL_PARAMS, longer)
    arguments = {"name": name, "static_layer": 1}
    expected = play(params, MULTIPLIERS, CLEAN, **arguments)
    found = play(params, MULTIPLIERS, clean, **arguments)
    assert_trees_close(found, expected, rtol=1e-4, atol=1e-6)


def test_no_gradient_reaches_the_frozen_model_or_its_clean_pass():
    """Diagnostics carry none either: all that is differentiated is the probe's and λ's."""

    def total(params):
        _, seen = objective(
            params, MULTIPLIERS, KEYS, 1,
            game=GAMES["hidden"], model_params=MODEL_PARAMS, clean=CLEAN,
        )  # fmt: skip
        return sum(map(jnp.sum, jax.tree.leaves(seen)))

    for slope in jax.tree.leaves(jax.jit(jax.grad(total))(probe_params("hidden"))):
        np.testing.assert_array_equal(slope, 0)


def test_the_two_sparsities_are_means_over_valid_positions():
    log_keep = jnp.log(jnp.array([[0.5, 0.25, 0.1], [0.2, 0.9, 0.9]]))
    valid = jnp.array([[True, True, False], [True, False, False]])
    np.testing.assert_allclose(mean_keep(log_keep, valid), [0.375, 0.2], rtol=1e-6)
    expected = [(math.log(0.5) + math.log(0.25)) / 2, math.log(0.2)]
    np.testing.assert_allclose(mean_log_keep(log_keep, valid), expected, rtol=1e-6)


def test_the_baseline_is_the_states_own():
    params = probe_params("hidden")
    found = masked_logits(GAMES["hidden"], MODEL_PARAMS, params, CLEAN, jnp.zeros((B, T)), 1)
    state = jnp.broadcast_to(params["baselines"][1], CLEAN.states[1].shape)
    np.testing.assert_allclose(found, _rest(MODEL_PARAMS, INPUTS, state, 1), rtol=1e-5)


def test_the_share_of_masked_positions_is_of_exact_zeros():
    """Which the keep probability foretells, on average over draws."""
    params, name = probe_params("hidden"), "hidden"
    votes = probes.vote_logits(GAMES[name].probe, params, CLEAN.states)
    keys = jax.random.split(KEYS[0], (2000, B))

    def masked(keys):
        return objective(
            params, MULTIPLIERS, keys, 1, game=GAMES[name], model_params=MODEL_PARAMS, clean=CLEAN
        )[1].masked[1]

    keep = hard_concrete.keep_probability(votes[1])
    expected = np.mean([1 - keep[row, :n].mean() for row, n in enumerate((4, 3, 1))])
    assert jax.jit(jax.vmap(masked))(keys).mean() == pytest.approx(expected, abs=0.02)
