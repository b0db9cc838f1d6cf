"""The two probes: their gate networks, votes and baselines."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.game import hard_concrete, probes
from diffmask_jax.game.probes import hidden_probe, input_probe

B, T, D, LAYERS, HIDDEN = 3, 5, 6, 3, 7
STATES = tuple(jax.random.normal(k, (B, T, D)) for k in jax.random.split(jax.random.key(0), LAYERS))
BASELINE = jnp.arange(D, dtype=jnp.float32)
PROBES = {"input": input_probe(HIDDEN), "hidden": hidden_probe(HIDDEN)}
both = pytest.mark.parametrize("name", PROBES)

# Compiled whole: one program a call instead of one for each operation in it.
vote_logits = jax.jit(probes.vote_logits, static_argnums=0)
log_keep_probabilities = jax.jit(probes.log_keep_probabilities, static_argnums=0)


@functools.cache
def make(name: str) -> dict:
    probe = PROBES[name]
    baselines = [BASELINE] * probe.baselines(LAYERS)
    return jax.jit(lambda key: probes.init(key, probe, STATES, baselines))(jax.random.key(1))


def random_votes(seed: int):
    keys = jax.random.split(jax.random.key(seed), LAYERS)
    return tuple(2 * jax.random.normal(k, (B, T)) for k in keys)


# --- gate networks ---------------------------------------------------------------------------


@both
def test_gates_start_open(name):
    """On states of the size of BERT's word embeddings."""
    states = tuple(0.05 * state for state in STATES)
    votes = vote_logits(PROBES[name], make(name), states)
    for vote in votes:
        assert vote.shape == (B, T)
        assert jnp.all(hard_concrete.keep_probability(vote) > 0.98)
        np.testing.assert_allclose(vote.mean(), 5, atol=0.5)


def calibrate(name, states, valid):
    return probes.calibrated(PROBES[name], make(name), states, valid)


@both
@pytest.mark.parametrize("scale", [1e-2, 1.0, 300.0])
def test_calibrated_gates_start_open_and_alike_whatever_the_size_of_states(name, scale):
    """Of states that are large, small or far from zero, the votes are those of plain ones."""
    valid = np.ones((B, T), bool)
    votes = vote_logits(PROBES[name], calibrate(name, STATES, valid), STATES)
    moved = tuple(scale * (state + 0.5) for state in STATES)
    for vote, other in zip(
        votes, vote_logits(PROBES[name], calibrate(name, moved, valid), moved), strict=True
    ):
        np.testing.assert_allclose(other, vote, atol=2e-3)
        np.testing.assert_allclose(vote.mean(), 5, atol=0.02)
        np.testing.assert_allclose(vote.std(), 0.5, rtol=0.02)


@both
def test_calibration_gives_the_first_layer_mean_0_and_deviation_1_and_reads_no_padding(name):
    valid = np.arange(T) < np.arange(2, B + 2)[:, None]
    params = calibrate(name, STATES, valid)
    first = params["gates"][1]["first"]
    x = np.concatenate(PROBES[name].features(STATES, 1), axis=-1)[valid]
    kernel = first["kernel"] / np.linalg.norm(first["kernel"], axis=0)
    t = x @ kernel * params["gates"][1]["first_norm"]["first/kernel/scale"] + first["bias"]
    np.testing.assert_allclose(t.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(t.std(axis=0), 1, rtol=1e-4)
    spoiled = tuple(jnp.where(valid[..., None], state, 99.0) for state in STATES)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        calibrate(name, spoiled, valid),
        params,
    )


def test_a_state_that_says_the_same_everywhere_is_not_blown_up():
    states = tuple(jnp.ones_like(state) for state in STATES)
    params = calibrate("hidden", states, np.ones((B, T), bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    votes = vote_logits(PROBES["hidden"], params, states)
    np.testing.assert_allclose(votes, 5 * np.ones_like(votes), atol=0.1)


# --- votes and gates -------------------------------------------------------------------------


def changes(name: str, changed: int) -> list[bool]:
    """At which layers a change of one state changes the votes."""
    params, probe = make(name), PROBES[name]
    votes = vote_logits(probe, params, STATES)
    states = tuple(s + (i == changed) for i, s in enumerate(STATES))
    moved = vote_logits(probe, params, states)
    return [bool(jnp.any(a != b)) for a, b in zip(votes, moved, strict=True)]


@pytest.mark.parametrize("changed", range(LAYERS))
def test_a_vote_reads_its_own_state_and_for_the_input_probe_the_input(changed):
    own = [layer == changed for layer in range(LAYERS)]
    assert changes("hidden", changed) == own
    assert changes("input", changed) == ([True] * LAYERS if changed == 0 else own)


@both
def test_layers_have_networks_of_their_own(name):
    kernels = [gate["first"]["kernel"] for gate in make(name)["gates"]]
    assert len(kernels) == LAYERS
    assert not any(np.allclose(a, b) for a, b in itertools.combinations(kernels, 2))


@both
def test_states_may_have_a_width_of_their_own(name):
    def votes(key):
        states = (STATES[0], STATES[1][..., :2], STATES[2])
        widths = {"input": [D], "hidden": [D, 2, D]}[name]
        params = probes.init(key, PROBES[name], states, [jnp.zeros(w) for w in widths])
        return probes.vote_logits(PROBES[name], params, states)

    shapes = jax.eval_shape(votes, jax.random.key(5))
    assert [vote.shape for vote in shapes] == [(B, T)] * LAYERS


def test_a_position_votes_for_itself():
    state = STATES[1].at[:, 2].add(1.0)
    for name, probe in PROBES.items():
        params = make(name)
        votes = vote_logits(probe, params, STATES)[1]
        moved = vote_logits(probe, params, (STATES[0], state, STATES[2]))[1]
        np.testing.assert_array_equal(jnp.any(moved != votes, axis=0), np.arange(T) == 2)


def test_the_input_gates_log_keep_probability_is_the_running_sum():
    votes = random_votes(8)
    logs = log_keep_probabilities(PROBES["input"], votes)
    alone = np.stack([hard_concrete.log_keep_probability(v) for v in votes])
    np.testing.assert_allclose(np.stack(logs), np.cumsum(alone, axis=0), rtol=1e-6)
    assert np.all(np.diff(np.stack(logs), axis=0) <= 0)


def test_the_hidden_gates_are_the_votes():
    votes = random_votes(9)
    logs = log_keep_probabilities(PROBES["hidden"], votes)
    for log, vote in zip(logs, votes, strict=True):
        np.testing.assert_array_equal(log, hard_concrete.log_keep_probability(vote))


@both
def test_gradients_reach_every_network_below_an_input_gate_and_its_own_for_a_hidden_gate(name):
    def total(params):
        votes = vote_logits(PROBES[name], params, STATES)
        return log_keep_probabilities(PROBES[name], votes)[1].sum()

    reached = [
        [bool(np.any(leaf != 0)) for leaf in jax.tree.leaves(gate)]
        for gate in jax.jit(jax.grad(total))(make(name))["gates"]
    ]
    layers = {"input": [True, True, False], "hidden": [False, True, False]}[name]
    assert reached == [[layer] * 7 for layer in layers]


# --- which state, which baseline -------------------------------------------------------------


def test_targets():
    assert [PROBES["input"].target(layer) for layer in range(3)] == [0, 0, 0]
    assert [PROBES["hidden"].target(layer) for layer in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "widths"),
    [("input", []), ("input", [D, D]), ("input", [D + 1]), ("hidden", [D]), ("hidden", [D, 2, D])],
)
def test_baselines_that_do_not_suit_the_states_are_refused(name, widths):
    with pytest.raises(ValueError, match="baselines must have widths"):
        probes.init(jax.random.key(0), PROBES[name], STATES, [jnp.zeros(width) for width in widths])


@both
def test_baselines_are_kept_as_given_in_float32(name):
    params = make(name)
    assert len(params["baselines"]) == {"input": 1, "hidden": LAYERS}[name]
    for baseline in params["baselines"]:
        np.testing.assert_array_equal(baseline, BASELINE)
        assert baseline.dtype == jnp.float32
