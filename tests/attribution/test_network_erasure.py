"""Erasure on networks against every subset by itself, in NumPy, and where the answer is known."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import mixing
import numpy as np
import pytest
from mixing import CLASS_MODEL, SPAN_MODEL, D, Inputs
from scipy.special import log_softmax

from diffmask_jax.attribution.network_erasure import (
    SamePrediction,
    Within,
    search_text,
    stretch,
)
from diffmask_jax.attribution.subset_search import Effort
from diffmask_jax.data import batches, encoding
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL, SPAN
from diffmask_jax.game.masking import mask_state
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Clean
from diffmask_jax.models.loading import load_classifier

T = 8
BASELINE = jnp.array([0.3, -0.2, 0.1])
PLENTY = Effort(passes=400, width=4, batch=16)
MARGIN = 0.2
NEAR = 1e-4
models = pytest.mark.parametrize("name", ["class", "span"])
MODELS = {"class": CLASS_MODEL, "span": SPAN_MODEL}


def text_of(seed: int, length: int) -> Inputs:
    words = np.random.default_rng(seed).normal(size=(1, T, D)).astype(np.float32)
    return Inputs(jnp.asarray(words), jnp.arange(T)[None] < length)


def clean_of(model: Model, params, inputs) -> Clean:
    return Clean(inputs, *model.states(params, inputs))


def every_subset(name: str, params, inputs: Inputs, always):
    """Kept sets of one text, their divergences and whether the prediction is the same: float64.

    And how near anything that decides is to being decided otherwise.
    """
    length = int(inputs.valid.sum())
    subsets = np.array(list(itertools.product([False, True], repeat=length)))
    subsets = subsets[(subsets | ~always[:length]).all(1)]
    params = {key: np.float64(value) for key, value in params.items()}
    words = np.float64(inputs.words[0, :length])
    masked = np.where(subsets[..., None], words, np.float64(BASELINE))
    logits_of = mixing.class_logits if name == "class" else mixing.span_logits
    logits = logits_of(params, masked, np.ones(subsets.shape), np.tanh)
    whole = logits_of(params, words[None], np.ones((1, length)), np.tanh)
    if name == "class":
        logits, whole = logits[..., None], whole[..., None]  # one choice, of a class
    log_p, log_q = log_softmax(whole, axis=1), log_softmax(logits, axis=1)
    divergence = (np.exp(log_p) * (log_p - log_q)).sum((1, 2))
    same = (logits.argmax(1) == whole.argmax(1)).all(1)
    ordered = np.sort(logits, axis=1)
    ties = (ordered[:, -1] - ordered[:, -2]).min() if logits.shape[1] > 1 else np.inf
    return subsets, divergence, same, min(ties, abs(divergence - MARGIN).min())


@models
@pytest.mark.parametrize("kind", ["same", "within"])
@pytest.mark.parametrize("kept", [(), (0, 2)], ids=["none", "two"])
def test_it_finds_what_a_plain_search_finds(name, kind, kept):
    model = MODELS[name]
    family = model.family
    criterion = SamePrediction(family) if kind == "same" else Within(family, MARGIN)
    always, sizes = np.isin(np.arange(T), kept), []
    for seed in range(12):
        inputs, params = text_of(seed, 3 + seed % 6), mixing.params_of(seed)
        subsets, divergence, same, near = every_subset(name, params, inputs, always)
        if near < NEAR:
            continue  # float32 may decide otherwise
        clean = clean_of(model, params, inputs)
        found = search_text(
            model, params, clean, criterion, BASELINE, jnp.asarray(always), effort=PLENTY
        )
        found = jax.device_get(found)
        feasible = same if kind == "same" else divergence <= MARGIN
        smallest = subsets.sum(1)[feasible].min()
        optimal = np.flatnonzero(feasible & (subsets.sum(1) == smallest))
        best = optimal[divergence[optimal].argmin()]
        length = subsets.shape[1]
        assert found.complete and found.size == found.lower == smallest
        assert found.optima == len(optimal)
        np.testing.assert_array_equal(np.flatnonzero(found.kept), np.flatnonzero(subsets[best]))
        np.testing.assert_allclose(found.share[:length], subsets[optimal].mean(0), atol=1e-6)
        np.testing.assert_allclose(found.divergence, divergence[best], atol=1e-4, rtol=1e-4)
        free = length - always.sum()
        levels = range(smallest - always.sum() + 1)
        assert found.enumerated == sum(math.comb(free, k) for k in levels)
        assert found.kept[always].all() and not found.kept[length:].any()
        sizes.append(int(smallest))
    assert len(sizes) >= 9 and len(set(sizes)) >= 3, "the problems must not be all alike"


def weighing(bias: float) -> Model:
    """Class 1 if the words of a text, numbers, sum up to more than the bias."""

    def logits_from(params, inputs, state, layer):
        total = jnp.sum(jnp.where(inputs.valid, state[..., 0], 0), axis=-1)
        return jnp.stack([jnp.zeros_like(total), total - bias], axis=-1)

    def states(params, inputs):
        return logits_from(params, inputs, inputs.words, 0), (inputs.words,)

    return Model(states, logits_from, ("0",), CATEGORICAL)


def test_where_the_answer_is_known():
    """5 + 3 or 5 + 1 is over 5.5, 5 is not, nor 3 + 1 + 1: two tokens, the first one of them."""
    words = jnp.array([5.0, 3, 1, 1, 0.2, 9, 9, 9])[None, :, None]
    clean = clean_of(weighing(5.5), {}, Inputs(words, jnp.arange(T)[None] < 5))
    model, criterion, zero = weighing(5.5), SamePrediction(CATEGORICAL), jnp.zeros(1)
    found = search_text(model, {}, clean, criterion, zero, effort=PLENTY)
    assert found.size == 2 and found.optima == 3 and found.complete
    np.testing.assert_array_equal(np.flatnonzero(found.kept), (0, 1))
    np.testing.assert_allclose(found.share, [1, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0], rtol=1e-6)

    always = jnp.arange(T) == 4
    found = search_text(model, {}, clean, criterion, zero, always, effort=PLENTY)
    assert found.size == 3 and found.lower == 3 and found.optima == 3
    np.testing.assert_array_equal(np.flatnonzero(found.kept), (0, 1, 4))

    margin = Within(CATEGORICAL, 1e-6)  # the sum must be the same but for so much
    assert search_text(model, {}, clean, margin, zero, effort=PLENTY).size == 5


@models
def test_padding_has_no_say(name):
    model, params = MODELS[name], mixing.params_of(1)
    inputs = text_of(1, 5)
    other = inputs._replace(words=jnp.where(inputs.valid[..., None], inputs.words, 7))
    found, expected = (
        search_text(
            model, params, clean_of(model, params, text), SamePrediction(model.family), BASELINE,
            effort=PLENTY,
        )
        for text in (other, inputs)
    )  # fmt: skip
    np.testing.assert_array_equal(found.kept, expected.kept)
    assert found.size == expected.size and found.passes == expected.passes


def test_one_text_at_a_time():
    inputs = jax.tree.map(lambda a: jnp.repeat(a, 2, axis=0), text_of(0, 4))
    clean = clean_of(CLASS_MODEL, params := mixing.params_of(0), inputs)
    with pytest.raises(UserError, match="the tokens of one text, not of 2"):
        search_text(
            CLASS_MODEL, params, clean, SamePrediction(CATEGORICAL), BASELINE, effort=PLENTY
        )


def test_criteria_by_hand():
    original = jnp.array([[[0.0, 0], [1, 0], [0, 2]]] * 3)
    moved = original.at[1, 0, 0].set(3).at[2, :, 1].set(jnp.array([0.0, 0, 2.1]))
    np.testing.assert_array_equal(SamePrediction(SPAN)(original, moved), [True, False, True])
    np.testing.assert_array_equal(Within(SPAN, 0.0)(original, moved), [True, False, False])
    np.testing.assert_array_equal(Within(SPAN, 0.1)(original, moved), [True, False, True])
    assert Within(SPAN, 0.1) == Within(SPAN, 0.1) and hash(Within(SPAN, 0.1)) != hash(SPAN)


def test_the_answer_s_own_pieces():
    spans = jnp.array([[1, 3], [2, 2], [4, 0]])
    np.testing.assert_array_equal(
        stretch(spans, 5), [[0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 1]]
    )


@pytest.mark.long
def test_on_a_bert_every_smaller_set_is_infeasible(tiny_bert, sentences):
    """By whole passes of the network from its embeddings up, all sets at once."""
    model = load_classifier(tiny_bert)
    network, params, criterion = model.network, model.params, SamePrediction(CATEGORICAL)
    sizes = []
    for text in encoding.batch_encode(model.tokenizer, sentences[:3]):
        inputs = jax.tree.map(jnp.asarray, batches.pad([text], 12))
        clean = clean_of(network, params, inputs)
        zero = jnp.zeros_like(clean.states[0][0, 0])
        found = search_text(network, params, clean, criterion, zero, effort=Effort(9000, 4, 64))
        length = len(text.ids)
        sets = np.zeros((2**length, 12), bool)
        sets[:, :length] = list(itertools.product([False, True], repeat=length))
        feasible = np.asarray(whole_passes(network, params, clean, jnp.asarray(sets)))
        assert found.complete and found.size == sets.sum(1)[feasible].min()
        assert found.optima == (feasible & (sets.sum(1) == int(found.size))).sum()
        sizes.append(int(found.size))
    assert max(sizes) > 0


@functools.partial(jax.jit, static_argnums=0)
def whole_passes(network: Model, params, clean: Clean, sets):
    state = jnp.broadcast_to(clean.states[0], (len(sets), *clean.states[0].shape[1:]))
    masked = mask_state(state, sets.astype(state.dtype), jnp.zeros(state.shape[-1]))
    inputs = jax.tree.map(lambda a: jnp.repeat(a, len(sets), axis=0), clean.inputs)
    logits = network.logits_from(params, inputs, masked, 0)
    return jnp.argmax(logits, axis=-1) == jnp.argmax(clean.logits, axis=-1)
