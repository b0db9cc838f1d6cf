"""The numbers that say whether the model decides alike when tokens are dropped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uneven

from diffmask_jax.analysis.faithfulness import (
    Numbered,
    Outcome,
    measure,
    outcome_of,
    sampled,
    table,
    thresholded,
)
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game import hard_concrete, probes
from diffmask_jax.game.divergences import CATEGORICAL, MULTI_LABEL, gaussian
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, clean_pass, masked_logits, mean_log_keep
from diffmask_jax.models.heads import MULTI_LABEL_HEAD, SINGLE_LABEL

# --- the table -------------------------------------------------------------------------------

OUTCOME = Outcome(
    masked=np.array([[0.0, 0.5, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]]),
    divergence=np.array([[0.1, 0.2, 0.3, 0.0], [1.0, 2.0, 3.0, 4.0]]),
    agreement=np.array([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]),
    prediction=np.array([[0, 1, 1, 0], [1, 1, 1, 1]]),
    original=np.array([0, 1, 0, 0]),
)


def test_a_row_a_layer_and_their_mean():
    rows = table(OUTCOME)
    assert [row["masked"] for row in rows] == pytest.approx([0.5, 1.0, 0.75])
    assert [row["divergence"] for row in rows] == pytest.approx([0.15, 2.5, 1.325])
    assert [row["agreement"] for row in rows] == pytest.approx([0.75, 0.25, 0.5])
    assert all(set(row) == {"masked", "divergence", "agreement"} for row in rows)


def test_with_labels_the_scores_before_and_after():
    gold = np.array([0, 1, 1, 0])
    rows = table(OUTCOME, functools.partial(SINGLE_LABEL.measure, gold=gold))
    # Originally class 0: TP 2, FP 1; class 1: TP 1, FN 1.
    assert [row["macro_f1_original"] for row in rows] == pytest.approx([(4 / 5 + 2 / 3) / 2] * 3)
    masked = [1, (0 + 2 / 3) / 2]
    assert [row["macro_f1_masked"] for row in rows] == pytest.approx([*masked, np.mean(masked)])
    assert [row["accuracy_original"] for row in rows] == pytest.approx([0.75] * 3)
    assert [row["accuracy_masked"] for row in rows] == pytest.approx([1, 0.5, 0.75])
    assert table(OUTCOME, lambda prediction: {}) == table(OUTCOME)


def test_predictions_may_be_sets_of_labels():
    """(L, N, C): a layer's slice is what the head measures."""
    sets = np.array([[[1, 0], [0, 1]], [[1, 1], [0, 0]]])
    outcome = Outcome(*np.zeros((3, 2, 2)), prediction=sets, original=sets[0])
    rows = table(outcome, functools.partial(MULTI_LABEL_HEAD.measure, gold=sets[0]))
    assert [row["accuracy_original"] for row in rows] == [1, 1, 1]
    assert [row["accuracy_masked"] for row in rows] == [1, 0, 0.5]
    assert rows[1]["micro_f1_masked"] == pytest.approx(1 / 2)


# --- gates -----------------------------------------------------------------------------------

LOGITS = tuple(jnp.linspace(-4, 4, 24).reshape(2, 12) + layer for layer in range(3))


def game(probe: probes.Probe) -> Game:
    nothing = lambda *_: None  # noqa: E731
    return Game(Model(nothing, nothing, ("W", "E", "1"), CATEGORICAL), probe, 0.1, mean_log_keep)


@pytest.mark.parametrize("make", [probes.input_probe, probes.hidden_probe])
def test_thresholded_gates_keep_what_is_more_likely_kept_than_not(make):
    gates = thresholded(game(make(4)), jax.random.split(jax.random.key(0), 2), LOGITS)
    votes = [np.asarray(hard_concrete.keep_probability(logits)) for logits in LOGITS]
    keep = np.cumprod(votes, axis=0) if make is probes.input_probe else votes
    np.testing.assert_array_equal(np.stack(gates), (np.stack(keep) > 0.5).astype(float))
    assert 0 < np.mean(gates) < 1


def test_sampled_gates_are_zero_as_often_as_the_keep_probability_says():
    votes = (jnp.broadcast_to(jnp.array([-1.0, 0.0, 1.0, 3.0]), (5000, 4)),)
    keys = jax.random.split(jax.random.key(0), 5000)
    gates = sampled(game(probes.hidden_probe(4)), keys, votes)
    kept = np.mean(np.asarray(gates[0]) > 0, axis=0)
    np.testing.assert_allclose(kept, hard_concrete.keep_probability(votes[0][0]), atol=0.03)


# --- a batch ---------------------------------------------------------------------------------


def fresh(played: Game):
    """The clean pass of the uneven network, and a fresh probe whose votes are not shifted open."""
    clean = jax.jit(clean_pass, static_argnums=0)(played.model, uneven.PARAMS, uneven.INPUTS)
    widths = uneven.WIDTHS[: played.probe.baselines(3)]
    baselines = [jax.random.normal(jax.random.key(k), (width,)) for k, width in enumerate(widths)]
    init = jax.jit(lambda key: probes.init(key, played.probe, clean.states, baselines))
    params = init(jax.random.key(1))
    for network in params["gates"]:
        network["shift"] = jnp.zeros(())
    return clean, params


@pytest.mark.parametrize("gate", probes.PROBES)
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(CATEGORICAL, id="class"),
        pytest.param(MULTI_LABEL, id="labels", marks=pytest.mark.long),
        pytest.param(gaussian(2.0), id="numbers"),
    ],
)
def test_an_outcome_is_that_of_every_layer_in_turn_whatever_its_width(gate, family):
    """The layer is traced there, and an int here."""
    played = Game(uneven.model(family), probes.PROBES[gate](4), 0.1, mean_log_keep)
    clean, params = fresh(played)
    found = jax.jit(functools.partial(outcome_of, played, sampled))(
        uneven.PARAMS, params, jax.random.key(2), Numbered(np.arange(uneven.B), uneven.INPUTS)
    )

    votes = jax.jit(probes.vote_logits, static_argnums=0)(played.probe, params, clean.states)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(2), np.arange(uneven.B))
    gates = jax.jit(sampled, static_argnums=0)(played, keys, votes)
    masked = jax.jit(masked_logits, static_argnums=(0, 5))
    np.testing.assert_array_equal(found.original, family.prediction(clean.logits))
    for layer, gate in enumerate(gates):
        logits = masked(played, uneven.PARAMS, params, clean, gate, layer)
        divergence, prediction = family.divergence(clean.logits, logits), family.prediction(logits)
        np.testing.assert_allclose(found.divergence[layer], divergence, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.prediction[layer], prediction, rtol=1e-4, atol=1e-5)
        agreement = family.agreement(found.original, prediction)
        np.testing.assert_array_equal(found.agreement[layer], agreement)
        lengths = uneven.INPUTS.valid.sum(-1)
        shut = jnp.where(uneven.INPUTS.valid, gate == 0, False).sum(-1)
        np.testing.assert_allclose(found.masked[layer], shut / lengths, rtol=1e-6)
    assert found.divergence.min() >= -1e-5 and found.divergence.max() > 0.1


# --- over a data set -------------------------------------------------------------------------


def test_results_come_back_in_the_order_of_the_data_set():
    """Batches arrive sorted by length and filled up with repetitions."""
    parts = [([5, 0], 3), ([2, 4, 1], 3), ([3], 3)]
    batches = []
    for indices, size in parts:
        filled = [*indices, *[indices[0]] * (size - len(indices))]
        tokens = np.array(filled, np.int32)[:, None]
        inputs = TextInputs(tokens, np.zeros_like(tokens), np.ones_like(tokens, bool))
        batches.append(Batch(np.array(indices), inputs))

    def evaluate(key, batch):
        text = jnp.asarray(batch.inputs.tokens[:, 0])
        np.testing.assert_array_equal(batch.numbers, text)  # of filled-up rows, too
        by_layer = jnp.stack([text, 10 * text])
        pairs = {"class": by_layer, "pair": jnp.stack([by_layer, -by_layer], axis=-1)}
        return Outcome(by_layer / 8, by_layer + 0.5, by_layer / 9, pairs, {"class": text})

    outcome = measure(evaluate, batches, jax.random.key(0))
    order = np.arange(6)
    layers = np.array([order, 10 * order])
    np.testing.assert_array_equal(outcome.original["class"], order)
    np.testing.assert_array_equal(outcome.prediction["class"], layers)
    np.testing.assert_array_equal(outcome.prediction["pair"], np.stack([layers, -layers], -1))
    np.testing.assert_allclose(outcome.agreement, layers / 9, rtol=1e-6)
    np.testing.assert_array_equal(outcome.masked, np.array([order, 10 * order]) / 8)
    np.testing.assert_array_equal(outcome.divergence, np.array([order, 10 * order]) + 0.5)


def test_an_example_s_gates_do_not_depend_on_the_batch_that_it_is_in():
    """Nor on its padding: the scores of a validation are the same on any number of devices."""
    votes = jax.random.normal(jax.random.key(5), (3, 7, 9))

    def of(chosen, length):
        indices = np.array(chosen)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), indices)
        gates = sampled(game(probes.hidden_probe(4)), keys, tuple(votes[:, indices, :length]))
        return np.stack(gates)

    together = of(range(7), 9)
    assert len(np.unique(together)) > together.size / 4
    for chosen, length in (([3, 1], 9), ([6, 6, 0], 9), ([5], 4), ([2, 4, 0, 1], 1)):
        np.testing.assert_array_equal(of(chosen, length), together[:, chosen, :length])


@pytest.mark.parametrize("gate", probes.PROBES)
def test_a_data_set_has_the_same_outcome_in_any_batches(gate):
    played = Game(uneven.model(CATEGORICAL), probes.PROBES[gate](4), 0.1, mean_log_keep)
    _, params = fresh(played)
    evaluate = functools.partial(
        jax.jit(functools.partial(outcome_of, played, sampled)), uneven.PARAMS, params
    )

    def in_batches(*parts):
        def rows(chosen):
            return jax.tree.map(lambda array: array[np.array(chosen)], uneven.INPUTS)

        stream = [Batch(np.unique(part), rows(part)) for part in parts]
        return measure(evaluate, stream, jax.random.key(3))

    whole = in_batches([0, 1, 2, 3])
    assert 0 < np.mean(whole.masked) < 1 and len(np.unique(whole.masked)) > 4
    for parts in ([[0, 1], [2, 3]], [[2, 2], [1, 3], [0, 0]], [[3], [0], [1], [2]]):
        found = in_batches(*parts)
        np.testing.assert_array_equal(found.masked, whole.masked)
        np.testing.assert_array_equal(found.prediction, whole.prediction)
        np.testing.assert_allclose(found.divergence, whole.divergence, rtol=1e-4, atol=1e-6)
