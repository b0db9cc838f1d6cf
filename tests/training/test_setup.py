"""Where a run starts: baselines at what the model makes of no word, calibrated gate networks."""

import types

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.game import probes
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.training import setup
from diffmask_jax.training.config import run_config


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_classifier(tiny_bert)


@pytest.fixture(scope="module")
def train(model, sentences):
    return model.encode(list(sentences))


def start(model, train, **settings):
    places = {"train": "train.txt", "dev": "dev.txt"}
    config = run_config(model.path, "texts", **places, **settings)
    game = setup.make_game(config, model.network, model.config.width)
    return game, setup.first_state(config, game, model, train).probe.fast


def states_of(model, texts):
    """Of each text by itself, unpadded."""
    network = jax.jit(model.network.states)
    inputs = [batches.pad([text], len(text.ids)) for text in texts]
    return [[np.asarray(s[0]) for s in network(model.params, one)[1]] for one in inputs]


def test_baselines_start_at_the_states_of_a_text_of_masks(model, train):
    masks = [" ".join(["[MASK]"] * (len(text.ids) - 2)) for text in train]
    states = states_of(model, model.encode(masks))
    _, probe = start(model, train, gate="hidden")
    assert len(probe["baselines"]) == len(model.network.layers)
    for layer, baseline in enumerate(probe["baselines"]):
        words = np.concatenate([text[layer][1:-1] for text in states])
        np.testing.assert_allclose(baseline, words.mean(axis=0), atol=1e-5)


def test_the_input_probe_s_is_the_embedding_of_the_mask(model, train):
    _, probe = start(model, train, gate="input")
    (baseline,) = probe["baselines"]
    (states,) = states_of(model, model.encode(["[MASK]"]))
    np.testing.assert_allclose(baseline, states[0][1], atol=1e-6)


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_votes_start_near_5_and_differ_by_half_a_logit_but_the_authors_as_drawn(model, train, gate):
    inputs = batches.pad(train, max(len(text.ids) for text in train))
    _, states = jax.jit(model.network.states)(model.params, inputs)
    game, probe = start(model, train, gate=gate)
    for votes in probes.vote_logits(game.probe, probe, states):
        np.testing.assert_allclose(votes[inputs.valid].mean(), 5, atol=0.05)
        np.testing.assert_allclose(votes[inputs.valid].std(), 0.5, rtol=0.05)
    _, drawn = start(model, train, gate=gate, setting="authors")
    for network in drawn["gates"]:
        np.testing.assert_allclose(network["first_norm"]["first/kernel/scale"], 3**-0.5, rtol=1e-6)


@pytest.mark.parametrize(("tokens", "taken"), [((None, 1, 3), 1), ((None, None, 3), 3)])
def test_without_a_mask_token_another_stands_for_no_word(model, train, tokens, taken):
    other = model._replace(tokenizer=tokenizer_of(*tokens))
    first = setup.no_word_states(other, train)[0]
    np.testing.assert_allclose(first, model.params["word"]["embedding"][taken], atol=1e-6)


def test_without_any_it_says_what_to_do(model, train):
    with pytest.raises(UserError, match="no mask token, which a probe's baselines start"):
        setup.no_word_states(model._replace(tokenizer=tokenizer_of(None, None, None)), train)


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 8192), min_size=1, max_size=60))
def test_the_states_of_a_sample_fit_into_memory(train, lengths):
    """As many of the first texts as may be, padded together."""
    texts = [train[0]._replace(ids=np.zeros(length, np.int32)) for length in lengths]
    found = setup.sample(texts)
    size = lambda texts: len(texts) * max(len(text.ids) for text in texts)  # noqa: E731
    assert found == texts[: len(found)] and 1 <= len(found) <= setup.SAMPLE
    assert len(found) == 1 or size(found) <= setup.POSITIONS
    more = texts[: len(found) + 1]
    assert len(more) in (len(found), setup.SAMPLE + 1) or size(more) > setup.POSITIONS


def tokenizer_of(mask, unknown, end):
    return types.SimpleNamespace(mask_token_id=mask, unk_token_id=unknown, eos_token_id=end)
