"""An encoder's training drops what PyTorch drops, where it does; its attention is PyTorch's."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_params import random_params

from diffmask_jax.data import batches, encoding
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game import probes, steps
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.model import Model, equally_wide
from diffmask_jax.game.objective import Game, clean_pass, mean_keep
from diffmask_jax.game.players import Rates, settling
from diffmask_jax.game.steps import Play
from diffmask_jax.models import transformer
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.attention import padding_bias
from diffmask_jax.models.bert import BERT
from diffmask_jax.models.block import Block
from diffmask_jax.models.config import Dropout, EncoderConfig
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.layers import embedding
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.models.transformer import Parts, make_model, make_training_logits

training_logits = BERT.training_logits
CONFIG = EncoderConfig(
    vocabulary=40, positions=16, segments=2, width=24, heads=3, blocks=2, intermediate=36, classes=4
)
DRAWS = 4000


def bert_classifier(config: EncoderConfig) -> Model:
    return BERT.model(config, CATEGORICAL, jnp.float32, False)


def with_dropout(*rates: float) -> EncoderConfig:
    return dataclasses.replace(CONFIG, dropout=Dropout(*map(float, rates)))


def random_inputs(rows: int = 4, length: int = 7) -> TextInputs:
    rng = np.random.default_rng(1)
    return TextInputs(
        tokens=jnp.asarray(rng.integers(0, CONFIG.vocabulary, (rows, length))),
        segments=jnp.asarray(rng.integers(0, CONFIG.segments, (rows, length))),
        valid=jnp.arange(length) < jnp.asarray([length - row for row in range(rows)])[:, None],
    )


PARAMS = random_params(BERT, CONFIG, seed=0, deviation=0.2)
INPUTS = random_inputs()
ONE_TEXT = jax.tree.map(lambda array: array[1:2], INPUTS)


def draws(config: EncoderConfig) -> np.ndarray:
    """One text's logits under many draws, (DRAWS, C)."""
    keys = jax.random.split(jax.random.key(3), DRAWS)
    one = jax.jit(jax.vmap(training_logits(config), in_axes=(None, None, 0)))
    return np.asarray(one(PARAMS, ONE_TEXT, keys))[:, 0]


# --- dropout ---------------------------------------------------------------------------------


def test_without_dropout_training_gives_the_classifier_s_logits():
    trained = jax.jit(training_logits(with_dropout(0, 0, 0)))(PARAMS, INPUTS, jax.random.key(0))
    logits, _ = jax.jit(bert_classifier(CONFIG).states)(PARAMS, INPUTS)
    np.testing.assert_allclose(trained, logits, atol=1e-6)


def test_the_classifier_drops_nothing_whatever_its_training_drops():
    logits, states = jax.jit(bert_classifier(with_dropout(0.9, 0.9, 0.9)).states)(PARAMS, INPUTS)
    others = jax.jit(bert_classifier(with_dropout(0, 0, 0)).states)(PARAMS, INPUTS)
    jax.tree.map(np.testing.assert_array_equal, (logits, states), others)


@pytest.mark.parametrize("rates", [(0.3, 0, 0), (0, 0.3, 0), (0, 0, 0.3)])
def test_the_key_alone_decides_what_is_dropped(rates):
    logits = jax.jit(training_logits(with_dropout(*rates)))
    first, again, other = (logits(PARAMS, INPUTS, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max(axis=1).min() > 1e-3


def test_the_pooled_output_is_dropped_in_the_mean_not_at_all():
    """The classifier is linear, so the mean over draws is the logits of evaluation."""
    found = draws(with_dropout(0, 0, 0.4))
    logits, _ = bert_classifier(CONFIG).states(PARAMS, ONE_TEXT)
    error = found.std(axis=0) / np.sqrt(DRAWS)
    assert (error > 1e-4).all()
    assert (np.abs(found.mean(axis=0) - logits[0]) < 4 * error).all()


ALONE = [pytest.param(r, marks=pytest.mark.long) for r in ((0.3, 0, 0), (0, 0.4, 0), (0, 0, 0.3))]


@pytest.mark.parametrize("rates", [*ALONE, (0.1, 0.1, 0.1)])
def test_logits_scatter_as_pytorch_s(rates, tmp_path):
    """A place too many, too few or elsewhere changes the mean or the spread over draws."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    config = with_dropout(*rates)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfun\n")
    tokenizer = transformers.BertTokenizer.from_pretrained(tmp_path)
    labels = tuple("abcd")
    classifier = Classifier(
        network=bert_classifier(config),
        params=PARAMS,
        tokenizer=tokenizer,
        config=config,
        labels=labels,
        head=SINGLE_LABEL,
        architecture=BERT,
        path=str(tmp_path),
    )
    save(tmp_path / "model", classifier)
    model = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "model").train()
    torch.manual_seed(0)
    tokens, segments, valid = (
        torch.tensor(np.asarray(array), dtype=torch.long).expand(DRAWS, -1) for array in ONE_TEXT
    )
    with torch.no_grad():
        found = model(input_ids=tokens, token_type_ids=segments, attention_mask=valid)
    expected, ours = found.logits.numpy(), draws(config)
    spread = expected.std(axis=0)
    assert (spread > 0.01).all()
    np.testing.assert_allclose(ours.std(axis=0), spread, rtol=0.06)
    assert (np.abs(ours.mean(axis=0) - expected.mean(axis=0)) < 0.1 * spread).all()


def test_a_text_longer_than_the_positions_is_refused():
    with pytest.raises(UserError, match=r"17 word pieces.*16 positions"):
        training_logits(CONFIG)(PARAMS, random_inputs(1, 17), jax.random.key(0))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(UserError, match="dropout rates"):
        with_dropout(0.1, rate, 0.1)


# --- attention -------------------------------------------------------------------------------


def test_attention_weights_are_pytorchs(tiny_bert, sentences):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    from transformers import BertForSequenceClassification

    model = load_classifier(tiny_bert)
    encoded = encoding.batch_encode(model.tokenizer, sentences)
    inputs = jax.tree.map(jnp.asarray, batches.pad(encoded, max(len(t.ids) for t in encoded)))
    _, states = model.network.states(model.params, inputs)
    found = model.network.attention(model.params, inputs, states)

    theirs = BertForSequenceClassification.from_pretrained(tiny_bert, attn_implementation="eager")
    with torch.no_grad():
        expected = theirs.eval()(
            input_ids=torch.tensor(np.asarray(inputs.tokens)),
            attention_mask=torch.tensor(np.asarray(inputs.valid)),
            output_attentions=True,
        ).attentions  # fmt: skip
    assert len(found) == len(expected) == model.config.blocks
    for ours, other in zip(found, expected, strict=True):
        real = np.broadcast_to(np.asarray(inputs.valid)[:, None, :, None], ours.shape)
        np.testing.assert_allclose(np.asarray(ours)[real], other.numpy()[real], atol=1e-5)
        np.testing.assert_allclose(np.sum(ours, axis=-1), 1.0, rtol=1e-5)


# --- an encoder of other parts ---------------------------------------------------------------


class Projected(nn.Module):
    """Word embeddings of another width than the other states."""

    @nn.compact
    def __call__(self, words, inputs):
        return nn.Dense(CONFIG.width)(words)


class Mean(nn.Module):
    """A head that reads every valid position."""

    @nn.compact
    def __call__(self, x, valid):
        mean = jnp.where(valid[..., None], x, 0.0).sum(1) / valid.sum(-1, keepdims=True)
        return nn.Dense(CONFIG.classes)(mean)


@pytest.mark.parametrize("words", [pytest.param(8, marks=pytest.mark.long), 40])
def test_words_may_have_a_width_of_their_own_and_a_head_may_read_all(words):
    config = dataclasses.replace(CONFIG, embedding=words, segments=0)
    parts = Parts(
        word=embedding(config.vocabulary, words),
        embeddings=Projected(),
        blocks=(Block(config, jnp.float32),) * config.blocks,
        head=Mean(),
        reads=None,
        context=lambda params, inputs: padding_bias(inputs.valid),
    )
    params = jax.jit(lambda key: transformer.init(key, parts, config))(jax.random.key(0))
    params = jax.tree.map(lambda x: x + 0.2 * np.cos(np.arange(x.size)).reshape(x.shape), params)
    model = make_model(parts, config, CATEGORICAL, jnp.float32, remat=False)
    logits, states = jax.jit(model.states)(params, INPUTS)
    assert [state.shape[-1] for state in states] == [words, 24, 24, 24]
    assert np.ptp(logits, axis=0).min() > 1e-3
    static = jax.jit(model.logits_from, static_argnums=3)
    traced = jax.jit(model.logits_from)
    rng = np.random.default_rng(0)
    for layer, (state, wide) in enumerate(zip(states, equally_wide(states), strict=True)):
        np.testing.assert_allclose(static(params, INPUTS, state, layer), logits, atol=1e-5)
        found = traced(params, INPUTS, wide, jnp.asarray(layer))
        np.testing.assert_allclose(found, logits, atol=1e-5)
        beyond = np.arange(wide.shape[-1]) >= state.shape[-1]
        noisy = jnp.where(beyond, jnp.asarray(rng.normal(size=wide.shape), jnp.float32), wide)
        found = traced(params, INPUTS, noisy, jnp.asarray(layer))
        np.testing.assert_allclose(found, logits, atol=1e-5)
    trained = jax.jit(make_training_logits(parts, config))(params, INPUTS, jax.random.key(0))
    np.testing.assert_allclose(trained, logits, atol=1e-5)
    for weights in jax.jit(model.attention)(params, INPUTS, states):
        np.testing.assert_allclose(np.sum(weights, axis=-1), 1.0, rtol=1e-5)
        closed = np.broadcast_to(~np.asarray(INPUTS.valid)[:, None, None, :], weights.shape)
        assert not np.asarray(weights)[closed].any()


# --- a batch whose rows join at states of their own ------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (0, 3, 0, 1), (4, 0, 0, 0), (0, 0, 0, 4)])
def test_a_staircase_gives_each_row_the_logits_of_its_own_pass(sizes):
    model = bert_classifier(CONFIG)
    _, states = jax.jit(model.states)(PARAMS, INPUTS)
    ends = np.cumsum(sizes)
    slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    joining = tuple(state[rows] + 0.3 for state, rows in zip(states, slices, strict=True))
    found = jax.jit(model.staircase)(PARAMS, INPUTS, joining)
    alone = jax.jit(model.logits_from, static_argnums=3)
    for layer, rows in enumerate(slices):
        own = alone(PARAMS, INPUTS, states[layer] + 0.3, layer)
        np.testing.assert_allclose(found[rows], own[rows], atol=1e-5)


def test_a_staircase_computes_nothing_for_rows_that_have_not_joined():
    """Of two blocks, rows take 2, 2, 1 and 0: five of eight."""
    model = bert_classifier(CONFIG)
    rows = jax.tree.map(lambda array: jnp.tile(array, (8, 1)), INPUTS)
    _, states = jax.jit(model.states)(PARAMS, rows)
    joining = tuple(state[:8] for state in states)

    def flops(function, *arguments) -> float:
        return jax.jit(function).lower(PARAMS, rows, *arguments).compile().cost_analysis()["flops"]

    whole = flops(
        lambda params, inputs, state: model.logits_from(params, inputs, state, 0), states[0]
    )
    assert 0.55 < flops(model.staircase, joining) / whole < 0.68


def test_a_staircase_worked_through_in_parts_makes_the_step_of_the_whole():
    """Eight rows play four depths twice; either half plays each of them once."""
    network = bert_classifier(CONFIG)
    game = Game(network, probes.PROBES["hidden"](8), 0.1, mean_keep)
    rows = jax.tree.map(lambda array: jnp.tile(array, (2, 1)), INPUTS)
    clean = clean_pass(network, PARAMS, rows)
    baselines = [jnp.full(CONFIG.width, 0.1 * depth) for depth in range(4)]
    params = probes.init(jax.random.key(1), game.probe, clean.states, baselines)
    for gate in params["gates"]:
        gate["shift"] = jnp.zeros(())  # half open: everything has a gradient
    players = settling(0.1, Rates(warmup=0))
    fetch = functools.partial(clean_pass, network, PARAMS)
    play = Play(game, players, PARAMS, fetch, steps.one_layer_an_example(4))

    @functools.partial(jax.jit, static_argnums=0)
    def step(parts):
        begun = steps.init(params, 4, players)
        return steps.step(begun, jax.random.key(2), rows, play._replace(parts=parts))

    whole, told = step(1)
    halves, told_of_halves = step(2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, (halves, told_of_halves), (whole, told))
    assert (np.asarray(told.divergence) > 1e-4).all() and network.staircase is not None
