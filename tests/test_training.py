"""The loop: exact replay, both players moving, and a game whose answer is known."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from diffmask_jax import probes, training
from diffmask_jax.divergences import BERNOULLI
from diffmask_jax.models.model import Model
from diffmask_jax.objective import Game, clean_pass, mean_log_keep
from diffmask_jax.optimizers import Rates
from diffmask_jax.probes import hidden_probe, input_probe

B, T, D, CHUNK = 16, 6, 2, 10


class Inputs(NamedTuple):
    embedded: Array
    valid: Array


def _decide(params, inputs: Inputs, state, layer):
    """Log-odds +3 if the sum of the first dimension is one, −3 if the deciding token is gone."""
    return 6 * jnp.sum(jnp.where(inputs.valid, state[..., 0], 0.0), axis=1) - 3


MODEL = Model(
    states=lambda params, inputs: (
        _decide(params, inputs, inputs.embedded, 0),
        (inputs.embedded, inputs.embedded),
    ),
    logits_from=_decide,
    layers=("0", "1"),
)
GAMES = {
    name: Game(MODEL, probe, BERNOULLI, 0.05, mean_log_keep)
    for name, probe in (("input", input_probe(8)), ("hidden", hidden_probe(8)))
}
RATES = Rates(probe=2e-3)  # from which 32 of 32 seeds found the answer
KEY = jax.random.key(2)


def draw_batch(key) -> tuple[Inputs, Array]:
    """Small noise and one deciding position; also, where that is."""
    noise_key, length_key, place_key = jax.random.split(key, 3)
    lengths = jax.random.randint(length_key, (B, 1), 2, T + 1)
    decides = jnp.arange(T) == jax.random.randint(place_key, (B, 1), 0, lengths)
    embedded = 0.1 * jax.random.normal(noise_key, (B, T, D))
    embedded = embedded.at[..., 0].set(decides.astype(jnp.float32))
    return Inputs(embedded, jnp.arange(T) < lengths), decides


@jax.jit
def draw_chunk(number) -> Inputs:
    """Chunk `number` of the data: batches for CHUNK steps."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), number), CHUNK)
    return jax.vmap(draw_batch)(keys)[0]


def one_of_two(key, clean):
    return jax.random.randint(key, (), 0, 2)


@functools.cache
def start(name: str) -> training.TrainState:
    probe, example = GAMES[name].probe, draw_batch(KEY)[0].embedded
    baselines = [jnp.zeros(D)] * probe.baselines(2)
    params = jax.jit(probes.init, static_argnums=1)(KEY, probe, (example,) * 2, baselines)
    return training.init(params, 2, RATES)


@functools.partial(jax.jit, static_argnames="name")
def many(state, batches, name="input"):
    return training.steps(
        state, KEY, batches, functools.partial(clean_pass, GAMES[name], None), one_of_two,
        game=GAMES[name], rates=RATES, model_params=None,
    )  # fmt: skip


@jax.jit
def one(state, batch):
    game = GAMES["input"]
    return training.step(
        state, KEY, clean_pass(game, None, batch), one_of_two,
        game=game, rates=RATES, model_params=None,
    )  # fmt: skip


@functools.cache
def by_single_steps(chunks: int) -> tuple[training.TrainState, Array]:
    """State and diagnostics after some chunks of data, one step a call."""
    state, seen = start("input"), []
    for batches in map(draw_chunk, range(chunks)):
        for number in range(CHUNK):
            state, diagnostics = one(state, jax.tree.map(lambda a, n=number: a[n], batches))
            seen.append(diagnostics)
    return state, jax.tree.map(lambda *values: np.stack(values), *seen)


def assert_identical(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# --- replay ----------------------------------------------------------------------------------


def test_many_steps_in_one_call_are_the_single_steps():
    found = many(start("input"), draw_chunk(0))
    assert_identical(found, by_single_steps(1))


def test_a_resumed_run_replays_exactly():
    """From nothing but the numbers in its state, which carries the step the keys depend on."""
    saved = jax.tree.map(np.asarray, many(start("input"), draw_chunk(0))[0])
    assert saved.step == CHUNK
    found, _ = many(jax.tree.map(jnp.asarray, saved), draw_chunk(1))
    assert_identical(found, by_single_steps(2)[0])


def test_every_step_draws_its_own_layer_and_gates():
    half_open = jax.tree.map(jnp.copy, start("input").probe.fast)
    for gate in half_open["gates"]:
        gate["shift"] = jnp.zeros(())
    state = start("input")._replace(probe=optax.LookaheadParams(half_open, half_open))
    batches = jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), draw_chunk(0))
    _, seen = many(state, batches)
    assert len(set(seen.masked.tolist())) > CHUNK // 2
    assert len(set(seen.multiplier.tolist())) > 2


# --- both players ----------------------------------------------------------------------------


def test_a_new_run_starts_at_step_zero_with_multipliers_of_one():
    state = start("hidden")
    assert state.step == 0
    for copy in state.multipliers:
        np.testing.assert_array_equal(copy, [1, 1])
    assert_identical(state.probe.fast, state.probe.slow)


def test_a_donated_state_holds_no_buffer_twice():
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(start("hidden"))]
    assert len(set(buffers)) == len(buffers)


def test_one_step_moves_both_players():
    before = start("input")
    after, seen = one(before, jax.tree.map(lambda a: a[0], draw_chunk(0)))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before, after)
    assert moved.step and moved.probe.fast["gates"][0]["shift"] and moved.probe.fast["baselines"][0]
    assert not any(jax.tree.leaves(moved.probe.slow))  # Lookahead moves it at every sixth step
    # The λ of the layer drawn ascends D − m, the other one rests.
    ascent = np.sign(after.multipliers.fast - 1).tolist()
    assert sorted(ascent) == sorted([0, np.sign(seen.divergence - 0.05)])


@pytest.mark.parametrize("name", GAMES)
def test_one_position_decides_and_the_probe_keeps_it_alone(name):
    state, seen = start(name), []
    for batches in map(draw_chunk, range(400)):
        state, diagnostics = many(state, batches, name)
        seen.append(diagnostics)
    seen = jax.tree.map(lambda *values: np.stack(values), *seen)
    inputs, decides = draw_batch(jax.random.key(77))
    votes = probes.vote_logits(GAMES[name].probe, state.probe.slow, (inputs.embedded,) * 2)
    for log_keep in probes.log_keep_probabilities(GAMES[name].probe, votes):
        keep = np.exp(log_keep)
        assert keep[decides].min() > 0.9
        assert keep[inputs.valid & ~decides].max() < 0.1
    # And it was a game: the constraint was broken, λ rose, and now it is nearly kept.
    assert seen.divergence.max() > 0.3 and seen.multiplier.max() > 1.5
    assert seen.divergence[-40:].mean() < 0.15
    assert seen.agreement[-40:].mean() > 0.95
