"""Training drops what PyTorch drops, where PyTorch drops it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models import bert
from diffmask_jax.models.bert import bert_classifier
from diffmask_jax.models.bert_config import BertConfig, Dropout
from diffmask_jax.models.bert_training import training_logits
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.models.huggingface.saving import save_bert

CONFIG = BertConfig(
    vocabulary=40, positions=16, segments=2, width=24, heads=3, blocks=2, intermediate=36, classes=4
)
DRAWS = 4000


def with_dropout(*rates: float) -> BertConfig:
    return dataclasses.replace(CONFIG, dropout=Dropout(*map(float, rates)))


def random_params():
    """Parameters far from their initial values, so that every bias and scale shows."""
    rng = np.random.default_rng(0)
    initial = bert.init(jax.random.key(0), CONFIG)
    return jax.tree.map(lambda x: x + rng.normal(0, 0.2, x.shape).astype(x.dtype), initial)


def random_inputs(rows: int = 4, length: int = 7) -> TextInputs:
    rng = np.random.default_rng(1)
    return TextInputs(
        tokens=jnp.asarray(rng.integers(0, CONFIG.vocabulary, (rows, length))),
        segments=jnp.asarray(rng.integers(0, CONFIG.segments, (rows, length))),
        valid=jnp.arange(length) < jnp.asarray([length - row for row in range(rows)])[:, None],
    )


PARAMS = random_params()
INPUTS = random_inputs()
ONE_TEXT = jax.tree.map(lambda array: array[1:2], INPUTS)


def draws(config: BertConfig) -> np.ndarray:
    """One text's logits under many draws, (DRAWS, C)."""
    keys = jax.random.split(jax.random.key(3), DRAWS)
    one = jax.jit(jax.vmap(training_logits(config), in_axes=(None, None, 0)))
    return np.asarray(one(PARAMS, ONE_TEXT, keys))[:, 0]


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


@pytest.mark.parametrize("rates", [(0.3, 0, 0), (0, 0.4, 0), (0, 0, 0.3), (0.1, 0.1, 0.1)])
def test_logits_scatter_as_pytorch_s(rates, tmp_path):
    """A place too many, too few or elsewhere changes the mean or the spread over draws."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    config = with_dropout(*rates)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfun\n")
    tokenizer = transformers.BertTokenizer.from_pretrained(tmp_path)
    labels = tuple("abcd")
    save_bert(
        tmp_path / "model",
        Checkpoint(bert_classifier(config), PARAMS, tokenizer, config, labels, str(tmp_path)),
    )
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
