"""States of different width: a traced layer plays the game that an int plays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uneven
from long_set import EITHER_GATE, shown_by
from uneven import INPUTS, PARAMS, WIDTHS, B, T

from diffmask_jax.game import probes, steps
from diffmask_jax.game.model import at_layer, equally_wide
from diffmask_jax.game.objective import Game, clean_pass, masked_logits, mean_keep, objective
from diffmask_jax.game.players import Rates, authors
from diffmask_jax.game.steps import Play

LAYERS = range(len(WIDTHS))
GAMES = {
    name: Game(uneven.model(), make(4), 0.1, mean_keep) for name, make in probes.PROBES.items()
}
CLEAN = clean_pass(GAMES["hidden"].model, PARAMS, INPUTS)
PLAYERS = authors(Rates(3e-4, 1e-3, 0.3, warmup=0))
GATE = jax.random.uniform(jax.random.key(0), (B, T))
both = pytest.mark.parametrize("name", GAMES)


@functools.cache
def probe_params(name: str):
    """Half open gates and baselines that are not zero."""
    probe = GAMES[name].probe
    baselines = [
        jax.random.normal(jax.random.key(k), (WIDTHS[k],))
        for k in range(probe.baselines(len(WIDTHS)))
    ]
    params = probes.init(jax.random.key(9), probe, CLEAN.states, baselines)
    for gate in params["gates"]:
        gate["shift"] = jnp.zeros(())
    return params


@pytest.mark.parametrize("layer", LAYERS)
def test_a_traced_layer_finds_its_entry_with_zeros_behind(layer):
    own, found = CLEAN.states[layer], jax.jit(at_layer)(CLEAN.states, layer)
    assert at_layer(CLEAN.states, layer).shape[-1] == WIDTHS[layer]
    np.testing.assert_array_equal(found[..., : WIDTHS[layer]], own)
    np.testing.assert_array_equal(found[..., WIDTHS[layer] :], 0)
    assert found.shape[-1] == max(WIDTHS)


def test_what_is_equally_wide_is_left_as_it_is():
    assert all(
        a is b for a, b in zip(equally_wide(CLEAN.states[1:]), CLEAN.states[1:], strict=True)
    )
    assert [a.shape[-1] for a in equally_wide(CLEAN.states)] == [5, 5, 5]
    assert equally_wide((jnp.zeros(3), jnp.ones(5)))[0].shape == (5,)


@both
@pytest.mark.parametrize("layer", LAYERS)
def test_masked_logits_are_the_same_by_an_int_and_traced(name, layer):
    def at(layer):
        return masked_logits(GAMES[name], PARAMS, probe_params(name), CLEAN, GATE, layer)

    static, traced = at(layer), jax.jit(at)(layer)
    np.testing.assert_allclose(traced, static, rtol=1e-5, atol=1e-6)
    assert np.abs(static - CLEAN.logits).max() > 0.1


@both
@pytest.mark.parametrize("layer", shown_by((0,), LAYERS))
def test_the_objective_and_its_gradients_are_the_same_by_an_int_and_traced(name, layer):
    keys = jax.random.split(jax.random.key(1), B)

    def play(params, multipliers, layer):
        return objective(
            params, multipliers, keys, layer, game=GAMES[name], model_params=PARAMS, clean=CLEAN
        )

    both_players = jax.value_and_grad(play, argnums=(0, 1), has_aux=True)
    arguments = probe_params(name), jnp.array([1.0, 2.0, 3.0])
    static = jax.jit(both_players, static_argnums=2)(*arguments, layer)
    traced = jax.jit(both_players)(*arguments, jnp.asarray(layer))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), traced, static
    )
    _, (slopes, _) = static
    for layer_of, baseline in enumerate(slopes["baselines"]):
        assert jnp.any(baseline != 0) == (layer_of == GAMES[name].probe.target(layer))


@pytest.mark.parametrize("name", EITHER_GATE)
def test_a_step_moves_a_probe_over_them(name):
    state = steps.init(probe_params(name), len(WIDTHS), PLAYERS)
    draw = steps.one_layer_a_batch(len(WIDTHS))
    fetch = functools.partial(clean_pass, GAMES[name].model, PARAMS)
    play = Play(GAMES[name], PLAYERS, PARAMS, fetch, draw)
    step = jax.jit(lambda state: steps.step(state, jax.random.key(2), INPUTS, play))
    moved, seen = step(state)
    assert np.isfinite(seen.loss) and moved.step == 1
    assert any(map(np.any, jax.tree.leaves(jax.tree.map(jnp.not_equal, moved.probe, state.probe))))


ROWS = np.array([2, 0, 1, 2])


@both
def test_rows_masked_at_depths_of_their_own_give_what_each_gives_alone(name):
    found = masked_logits(GAMES[name], PARAMS, probe_params(name), CLEAN, GATE, ROWS)
    for row, layer in enumerate(ROWS):
        alone = masked_logits(GAMES[name], PARAMS, probe_params(name), CLEAN, GATE, int(layer))
        np.testing.assert_allclose(found[row], alone[row], atol=1e-5)


@pytest.mark.parametrize("name", EITHER_GATE)
def test_they_play_the_same_game_and_move_the_same_baselines(name):
    keys = jax.random.split(jax.random.key(1), B)

    def slope(keys, layer, clean):
        def play(params, multipliers):
            return objective(
                params, multipliers, keys, layer,
                game=GAMES[name], model_params=PARAMS, clean=clean,
            )  # fmt: skip

        return jax.jit(jax.grad(play, (0, 1), True))(probe_params(name), jnp.ones(3))

    def of_row(row: int):
        one = jax.tree.map(lambda array: array[row : row + 1], CLEAN)
        return slope(keys[row : row + 1], int(ROWS[row]), one)

    found = slope(keys, ROWS, CLEAN)
    weights = [1 / (3 * np.sum(depth == ROWS)) for depth in ROWS]  # a third for every depth
    expected = jax.tree.map(
        lambda *rows: sum(w * row for w, row in zip(weights, rows, strict=True)),
        *(of_row(row)[0] for row in range(B)),
    )
    agree = functools.partial(np.testing.assert_allclose, rtol=3e-5, atol=1e-5)
    jax.tree.map(agree, found[0], expected)


@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.long), 2])
def test_the_hidden_probe_moves_at_every_depth_in_every_step(parts):
    """The first six rows of the data twice over: depths 0 1 2 0 1 2, whatever part they are in."""
    game = GAMES["hidden"]
    batch = jax.tree.map(lambda array: array[np.array([0, 1, 2, 3, 0, 1])], INPUTS)
    fetch = functools.partial(clean_pass, game.model, PARAMS)
    moved, _ = steps.step(
        steps.init(probe_params("hidden"), 3, PLAYERS),
        jax.random.key(2),
        batch,
        Play(game, PLAYERS, PARAMS, fetch, steps.one_layer_an_example(3), parts=parts),
    )
    assert (np.asarray(moved.multipliers.fast) != 1).all()
    before = probe_params("hidden")["baselines"]
    assert all(map(np.any, map(np.not_equal, moved.probe.fast["baselines"], before)))
