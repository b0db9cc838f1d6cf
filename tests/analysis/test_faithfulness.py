"""The numbers that say whether the model decides alike when tokens are dropped."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.analysis.faithfulness import (
    Outcome,
    macro_f1,
    measure,
    sampled,
    table,
    thresholded,
)
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game import hard_concrete, probes
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, mean_log_keep

# --- macro-F1 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], 1),
        ([0, 0], [1, 1], 0),
        # Class 0: TP 1, FP 1, FN 0; class 1: TP 1, FP 0, FN 1.
        ([0, 0, 1], [0, 1, 1], Fraction(2, 3)),
        # Class 2 is only ever predicted, class 3 only ever right: both count, with F1 0.
        ([0, 2, 0], [0, 0, 3], Fraction(1, 3) * Fraction(1, 2)),
        # The classes 0 and 4 alone occur: the three others do not count.
        ([4, 4, 0, 4], [4, 0, 0, 4], (Fraction(2, 3) + Fraction(4, 5)) / 2),
    ],
)
def test_macro_f1_by_hand(prediction, label, expected):
    assert macro_f1(np.array(prediction), np.array(label)) == pytest.approx(float(expected))


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1)


@given(pairs=PAIRS)
def test_macro_f1_is_the_mean_of_harmonic_means(pairs):
    scores = []
    for c in {c for pair in pairs for c in pair}:
        hits = sum(pair == (c, c) for pair in pairs)
        predicted = sum(p == c for p, _ in pairs)
        occurring = sum(label == c for _, label in pairs)
        precision = Fraction(hits, predicted) if predicted else Fraction(0)
        recall = Fraction(hits, occurring) if occurring else Fraction(0)
        sum_of_both = precision + recall
        scores.append(2 * precision * recall / sum_of_both if sum_of_both else Fraction(0))
    prediction, label = np.array(pairs).T
    assert macro_f1(prediction, label) == pytest.approx(float(sum(scores) / len(scores)))


@given(pairs=PAIRS, names=st.permutations(range(5)), seed=st.integers(0, 2**32 - 1))
def test_macro_f1_knows_neither_names_nor_order(pairs, names, seed):
    prediction, label = np.array(pairs).T
    renamed, order = np.array(names), np.random.default_rng(seed).permutation(len(pairs))
    expected = macro_f1(prediction, label)
    assert macro_f1(renamed[prediction][order], renamed[label][order]) == pytest.approx(expected)
    assert macro_f1(label, prediction) == pytest.approx(expected)


# --- the table -------------------------------------------------------------------------------

OUTCOME = Outcome(
    masked=np.array([[0.0, 0.5, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]]),
    divergence=np.array([[0.1, 0.2, 0.3, 0.0], [1.0, 2.0, 3.0, 4.0]]),
    prediction=np.array([[0, 1, 1, 0], [1, 1, 1, 1]]),
    original=np.array([0, 1, 0, 0]),
)


def test_a_row_a_layer_and_their_mean():
    rows = table(OUTCOME, None)
    assert [row["masked"] for row in rows] == pytest.approx([0.5, 1.0, 0.75])
    assert [row["divergence"] for row in rows] == pytest.approx([0.15, 2.5, 1.325])
    assert [row["agreement"] for row in rows] == pytest.approx([0.75, 0.25, 0.5])
    assert all(set(row) == {"masked", "divergence", "agreement"} for row in rows)


def test_with_labels_the_f1_before_and_after_in_points():
    rows = table(OUTCOME, np.array([0, 1, 1, 0]))
    # Originally class 0: TP 2, FP 1; class 1: TP 1, FN 1.
    assert [row["f1_original"] for row in rows] == pytest.approx([100 * (4 / 5 + 2 / 3) / 2] * 3)
    masked = [100, 100 * (0 + 2 / 3) / 2]
    assert [row["f1_masked"] for row in rows] == pytest.approx([*masked, np.mean(masked)])


# --- gates -----------------------------------------------------------------------------------

LOGITS = tuple(jnp.linspace(-4, 4, 24).reshape(2, 12) + layer for layer in range(3))


def game(probe: probes.Probe) -> Game:
    model = Model(states=lambda *_: None, logits_from=lambda *_: None, layers=("W", "E", "1"))
    return Game(model, probe, CATEGORICAL, 0.1, mean_log_keep)


@pytest.mark.parametrize("make", [probes.input_probe, probes.hidden_probe])
def test_thresholded_gates_keep_what_is_more_likely_kept_than_not(make):
    gates = thresholded(game(make(4)), jax.random.key(0), LOGITS)
    votes = [np.asarray(hard_concrete.keep_probability(logits)) for logits in LOGITS]
    keep = np.cumprod(votes, axis=0) if make is probes.input_probe else votes
    np.testing.assert_array_equal(np.stack(gates), (np.stack(keep) > 0.5).astype(float))
    assert 0 < np.mean(gates) < 1


def test_sampled_gates_are_zero_as_often_as_the_keep_probability_says():
    votes = (jnp.broadcast_to(jnp.array([-1.0, 0.0, 1.0, 3.0]), (5000, 4)),)
    gates = sampled(game(probes.hidden_probe(4)), jax.random.key(0), votes)
    kept = np.mean(np.asarray(gates[0]) > 0, axis=0)
    np.testing.assert_allclose(kept, hard_concrete.keep_probability(votes[0][0]), atol=0.03)


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

    def evaluate(key, inputs):
        text = jnp.asarray(inputs.tokens[:, 0])
        by_layer = jnp.stack([text, 10 * text])
        return by_layer / 8, by_layer + 0.5, by_layer, text

    outcome = measure(evaluate, batches, jax.random.key(0))
    order = np.arange(6)
    np.testing.assert_array_equal(outcome.original, order)
    np.testing.assert_array_equal(outcome.prediction, [order, 10 * order])
    np.testing.assert_array_equal(outcome.masked, np.array([order, 10 * order]) / 8)
    np.testing.assert_array_equal(outcome.divergence, np.array([order, 10 * order]) + 0.5)


def test_every_batch_draws_its_own_gates():
    keys = []

    def evaluate(key, inputs):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return (jnp.zeros((2, 1)),) * 2 + (jnp.zeros((2, 1), int), jnp.zeros(1, int))

    inputs = TextInputs(*np.zeros((2, 1, 1), np.int32), np.ones((1, 1), bool))
    batches = [Batch(np.array([number]), inputs) for number in range(3)]
    measure(evaluate, batches, jax.random.key(0))
    measure(evaluate, batches, jax.random.key(0))
    assert len(set(keys[:3])) == 3 and keys[:3] == keys[3:]
