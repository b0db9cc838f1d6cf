"""The GRU classifier: one state that gives its logits, padding inert, dropout only in training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.gru_classifier import (
    GruConfig,
    GruDropout,
    gru_classifier,
    init,
    training_logits,
)

CONFIG = GruConfig(vocabulary=11, positions=16, width=6, classes=3)
MODEL = gru_classifier(CONFIG)
WORD = {"embedding": jax.random.normal(jax.random.key(1), (11, 6))}
PARAMS = init(jax.random.key(0), CONFIG, WORD)
ROWS, LENGTH = 4, 7
TOKENS = np.random.default_rng(0).integers(0, 11, (ROWS, LENGTH)).astype(np.int32)
states = jax.jit(MODEL.states)
logits_from = jax.jit(MODEL.logits_from)


def inputs(lengths, tokens=TOKENS, segment: int = 0) -> TextInputs:
    valid = np.arange(LENGTH) < np.asarray(lengths)[:, None]
    return TextInputs(tokens, np.full_like(tokens, segment), valid)


def with_dropout(*rates: float) -> GruConfig:
    return dataclasses.replace(CONFIG, dropout=GruDropout(*map(float, rates)))


INPUTS = inputs((7, 5, 3, 1))


# --- the model -------------------------------------------------------------------------------


def test_the_only_state_is_the_embedded_words_and_gives_the_logits():
    logits, (words,) = states(PARAMS, INPUTS)
    assert MODEL.layers == ("W",) and logits.shape == (ROWS, 3) and logits.dtype == np.float32
    np.testing.assert_array_equal(words, WORD["embedding"][TOKENS])
    np.testing.assert_array_equal(logits_from(PARAMS, INPUTS, words, 0), logits)
    np.testing.assert_array_equal(logits_from(PARAMS, INPUTS, words, jnp.int32(0)), logits)
    assert np.ptp(logits, axis=0).min() > 1e-3


def test_another_state_has_other_logits():
    logits, (words,) = states(PARAMS, INPUTS)
    others = logits_from(PARAMS, INPUTS, words + 1, 0)
    assert np.abs(others - logits).max(axis=1).min() > 1e-3


@given(st.lists(st.integers(1, LENGTH), min_size=ROWS, max_size=ROWS), st.integers(0, 10))
@settings(max_examples=20)
def test_padding_and_segments_are_inert(lengths, token):
    clean = inputs(lengths)
    other = inputs(lengths, np.where(clean.valid, TOKENS, np.int32(token)), segment=1)
    expected, (words,) = states(PARAMS, clean)
    np.testing.assert_array_equal(states(PARAMS, other)[0], expected)
    noisy = jnp.where(clean.valid[..., None], words, 100.0)
    np.testing.assert_array_equal(logits_from(PARAMS, clean, noisy, 0), expected)


def test_fresh_parameters_keep_the_words_and_start_as_pytorch_s():
    assert PARAMS["word"] is WORD
    for array in jax.tree.leaves({"gru": PARAMS["gru"], "head": PARAMS["head"]}):
        assert 0.3 * 6**-0.5 < np.abs(array).max() <= 6**-0.5
    again, other = (init(jax.random.key(seed), CONFIG, WORD) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, again, PARAMS)
    assert not np.array_equal(other["gru"]["input_kernel"], PARAMS["gru"]["input_kernel"])
    assert not np.array_equal(other["head"]["kernel"], PARAMS["head"]["kernel"])


# --- dropout ---------------------------------------------------------------------------------


def test_without_dropout_training_gives_the_classifier_s_logits():
    trained = jax.jit(training_logits(with_dropout(0, 0)))(PARAMS, INPUTS, jax.random.key(0))
    np.testing.assert_allclose(trained, states(PARAMS, INPUTS)[0], atol=1e-6)


def test_the_classifier_drops_nothing_whatever_its_training_drops():
    found = jax.jit(gru_classifier(with_dropout(0.9, 0.9)).states)(PARAMS, INPUTS)
    jax.tree.map(np.testing.assert_array_equal, found, states(PARAMS, INPUTS))


@pytest.mark.parametrize("rates", [(0.4, 0), (0, 0.4)])
def test_the_key_alone_decides_what_is_dropped(rates):
    logits = jax.jit(training_logits(with_dropout(*rates)))
    first, again, other = (logits(PARAMS, INPUTS, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_the_last_state_is_dropped_in_the_mean_not_at_all():
    """The head is linear, so the mean over draws is the logits of evaluation."""
    draws = 4000
    one = jax.jit(jax.vmap(training_logits(with_dropout(0, 0.4)), in_axes=(None, None, 0)))
    found = np.asarray(one(PARAMS, INPUTS, jax.random.split(jax.random.key(2), draws)))
    error = found.std(axis=0) / np.sqrt(draws)
    assert (error > 1e-5).all()
    assert (np.abs(found.mean(axis=0) - states(PARAMS, INPUTS)[0]) < 4 * error).all()


def test_inputs_are_dropped_by_value_at_the_given_rate():
    """A value of a word that stands once in the texts gets no gradient where it was dropped."""
    rate, draws = 0.3, 300
    gradient = jax.grad(
        lambda state, key: training_logits(with_dropout(rate, 0))(
            {**PARAMS, "word": {"embedding": state}}, INPUTS, key
        ).sum()
    )
    keys = jax.random.split(jax.random.key(4), draws)
    one_use = np.flatnonzero(np.bincount(TOKENS[INPUTS.valid], minlength=11) == 1)
    found = jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(WORD["embedding"], keys)
    dropped = np.mean(np.asarray(found)[:, one_use] == 0)
    assert one_use.size and abs(dropped - rate) < 4 * np.sqrt(0.21 / (draws * 6 * one_use.size))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(UserError, match="dropout rates"):
        with_dropout(0.1, rate)
