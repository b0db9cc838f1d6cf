"""The loop: exact replay, both players moving, and a game whose answer is known."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from diffmask_jax.game import probes, steps
from diffmask_jax.game.divergences import BERNOULLI
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, clean_pass, mean_log_keep
from diffmask_jax.game.players import Rates, authors
from diffmask_jax.game.probes import hidden_probe
from diffmask_jax.game.steps import Play

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
    family=BERNOULLI,
)
GAME = Game(MODEL, hidden_probe(8), 0.05, mean_log_keep)
PLAYERS = authors(Rates(2e-3, 1e-3, 0.3, warmup=0))  # from which 32 of 32 seeds found the answer
KEY = jax.random.key(2)


def draw_chunk(number: int) -> tuple[Inputs, np.ndarray]:
    """Chunk `number` of the data: batches for CHUNK steps, and which position decides."""
    rng = np.random.default_rng(number)
    lengths = rng.integers(2, T + 1, (CHUNK, B, 1))
    decides = np.arange(T) == rng.integers(0, lengths)
    embedded = 0.1 * rng.normal(size=(CHUNK, B, T, D)).astype(np.float32)
    embedded[..., 0] = decides
    return Inputs(jnp.asarray(embedded), jnp.arange(T) < lengths), decides


def one_of_two(key, examples):
    return jax.random.randint(key, (), 0, 2)


PLAY = Play(GAME, PLAYERS, None, functools.partial(clean_pass, GAME.model, None), one_of_two)


@functools.cache
def start() -> steps.TrainState:
    states, baselines = (jnp.zeros((B, T, D)),) * 2, [jnp.zeros(D)] * 2
    params = jax.jit(probes.init, static_argnums=1)(KEY, GAME.probe, states, baselines)
    return steps.init(params, 2, PLAYERS)


@jax.jit
def many(state, batches):
    return steps.steps(state, KEY, batches, PLAY)


@jax.jit
def one(state, batch):
    return steps.step(state, KEY, batch, PLAY)


@functools.cache
def by_single_steps(chunks: int) -> tuple[steps.TrainState, Array]:
    """State and diagnostics after some chunks of data, one step a call."""
    state, seen = start(), []
    for chunk in range(chunks):
        batches, _ = draw_chunk(chunk)
        for number in range(CHUNK):
            state, diagnostics = one(state, jax.tree.map(lambda a, n=number: a[n], batches))
            seen.append(diagnostics)
    return state, jax.tree.map(lambda *values: np.stack(values), *seen)


def assert_identical(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# --- replay ----------------------------------------------------------------------------------


def test_many_steps_in_one_call_are_the_single_steps():
    """But for the rounding of two programs."""
    found = many(start(), draw_chunk(0)[0])
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        found,
        by_single_steps(1),
    )


def test_a_resumed_run_replays_exactly():
    """From nothing but the numbers in its state, which carries the step the keys depend on."""
    saved = jax.tree.map(np.asarray, many(start(), draw_chunk(0)[0])[0])
    assert saved.step == CHUNK
    found, expected = (
        many(state, draw_chunk(1)[0])[0]
        for state in (jax.tree.map(jnp.asarray, saved), many(start(), draw_chunk(0)[0])[0])
    )
    assert_identical(found, expected)


def half_open() -> steps.TrainState:
    """A start whose gates are often neither zero nor one, so that everything has a gradient."""
    params = jax.tree.map(jnp.copy, start().probe.fast)
    for gate in params["gates"]:
        gate["shift"] = jnp.zeros(())
    return start()._replace(probe=optax.LookaheadParams(params, params))


def test_every_step_draws_its_own_layer_and_gates():
    """From the number of the step alone: all else is the same here."""
    batch = jax.tree.map(lambda a: a[0], draw_chunk(0)[0])
    multipliers = optax.LookaheadParams(jnp.array([1.0, 2.0]), jnp.ones(2))
    state = half_open()._replace(multipliers=multipliers)
    seen = [one(state._replace(step=jnp.asarray(number)), batch)[1] for number in range(8)]
    assert {tuple(s.played.tolist()) for s in seen} == {(1.0, 0.0), (0.0, 1.0)}
    assert len({float(s.divergence.sum()) for s in seen}) == 8


def test_every_example_draws_its_own_gates():
    """Of sixteen equal rows: were their draws equal, too, a whole number of positions were shut."""
    embedded = jnp.broadcast_to(draw_chunk(0)[0].embedded[0, :1], (B, T, D))
    batch, state, shut = Inputs(embedded, jnp.ones((B, T), bool)), half_open(), []
    for number in range(4):
        seen = one(state._replace(step=jnp.asarray(number)), batch)[1]
        shut.append(T * float(seen.masked.sum()))
    assert 0 < min(shut) < max(shut) < T
    assert any(abs(count - round(count)) > 1e-3 for count in shut)


def test_a_batch_worked_through_in_parts_makes_the_same_step():
    batch = jax.tree.map(lambda a: a[0], draw_chunk(0)[0])

    @functools.partial(jax.jit, static_argnums=2)
    def play(state, batch, parts):
        return steps.step(state, KEY, batch, PLAY._replace(parts=parts))

    whole, seen = play(half_open(), batch, 1)
    for parts in (2, B):
        state, told = play(half_open(), batch, parts)
        close = functools.partial(np.testing.assert_allclose, atol=1e-5)
        jax.tree.map(close, state.primal, whole.primal)  # moments of the gradients
        jax.tree.map(close, (told, state.multipliers), (seen, whole.multipliers))
    sizes = [a.shape[0] for a in fetched_batches(parts=4)]
    assert set(sizes) == {B // 4}


def fetched_batches(parts: int) -> list[Array]:
    """The valid positions of every batch whose clean pass a step asks for, as it is traced."""
    asked = []

    def fetch(batch):
        asked.append(batch.valid)
        return clean_pass(GAME.model, None, batch)

    batch = jax.tree.map(lambda a: a[0], draw_chunk(0)[0])
    play = PLAY._replace(fetch=fetch, parts=parts)
    jax.eval_shape(lambda state: steps.step(state, KEY, batch, play), half_open())
    return asked


# --- both players ----------------------------------------------------------------------------


def test_a_new_run_starts_at_step_zero_with_multipliers_of_one():
    state = start()
    assert state.step == 0
    for copy in state.multipliers:
        np.testing.assert_array_equal(copy, [1, 1])
    assert_identical(state.probe.fast, state.probe.slow)


def test_a_donated_state_holds_no_buffer_twice():
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(start())]
    assert len(set(buffers)) == len(buffers)


def test_one_step_moves_both_players():
    before = half_open()
    after, seen = one(before, jax.tree.map(lambda a: a[0], draw_chunk(0)[0]))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before, after)
    assert moved.step
    assert sorted(gate["shift"] for gate in moved.probe.fast["gates"]) == [False, True]
    assert sorted(moved.probe.fast["baselines"]) == [False, True]
    assert not any(jax.tree.leaves(moved.probe.slow))  # Lookahead moves it at every sixth step
    # The λ of the layer drawn ascends D − m, the other one rests.
    ascent = np.sign(after.multipliers.fast - 1).tolist()
    assert sorted(ascent) == sorted([0, np.sign(seen.divergence.sum() - 0.05)])


def test_one_position_decides_and_the_probe_keeps_it_alone():
    state, seen = start(), []
    for chunk in range(1, 400):
        state, diagnostics = many(state, draw_chunk(chunk)[0])
        seen.append(diagnostics)
    divergence = np.concatenate([s.divergence.sum(axis=1) for s in seen])  # one layer a step

    unseen, decides = jax.tree.map(lambda a: a[0], draw_chunk(0))
    votes = probes.vote_logits(GAME.probe, state.probe.slow, (unseen.embedded,) * 2)
    for log_keep in probes.log_keep_probabilities(GAME.probe, votes):
        keep = np.exp(log_keep)
        assert keep[decides].min() > 0.9
        assert keep[unseen.valid & ~decides].max() < 0.1
    # And it was a game: the constraint was broken, λ rose, and now it is nearly kept.
    assert divergence.max() > 0.3 and max(s.multiplier.max() for s in seen) > 1.5
    assert divergence[-40:].mean() < 0.15
    assert np.mean([s.agreement.sum(axis=1) for s in seen[-4:]]) > 0.95
