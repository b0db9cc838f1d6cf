"""Training drops what PyTorch drops, and a step is AdamW's with a rate for every part."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.models import bert, bert_training
from diffmask_jax.models.bert import NO_DROPOUT, BertConfig, BertInputs, Dropout, bert_classifier
from diffmask_jax.models.bert_training import adamw, steps, training_logits
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.models.saving import save_bert

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


def random_inputs(rows: int = 4, length: int = 7) -> BertInputs:
    rng = np.random.default_rng(1)
    return BertInputs(
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


# --- steps -----------------------------------------------------------------------------------

LABELS = jnp.asarray([3, 0, 1, 2])


def sgd_steps(count: int, config: BertConfig):
    """As many steps in one program as in `count` of them, on the same batch."""
    optimizer = optax.sgd(0.1)
    state = bert_training.init(PARAMS, optimizer)
    inputs = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), INPUTS)
    labels = jnp.broadcast_to(LABELS, (count, len(LABELS)))

    @jax.jit
    def advance(state, inputs, labels):
        return steps(
            state, inputs, labels,
            key=jax.random.key(5), logits=training_logits(config), optimizer=optimizer,
        )  # fmt: skip

    return advance, state, inputs, labels


def test_steps_descend_the_cross_entropy():
    advance, state, inputs, labels = sgd_steps(1, with_dropout(*NO_DROPOUT))
    reached, losses = advance(state, inputs, labels)

    def loss(params):
        logits, _ = bert_classifier(CONFIG).states(params, INPUTS)
        return -jax.nn.log_softmax(logits)[jnp.arange(4), LABELS].mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(PARAMS)
    np.testing.assert_allclose(losses, [value], rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), reached.params, expected)


def test_several_steps_in_a_call_are_as_many_calls_with_other_draws_each():
    advance, state, inputs, labels = sgd_steps(2, CONFIG)
    together, losses = advance(state, inputs, labels)
    first, loss_0 = advance(state, *jax.tree.map(lambda x: x[:1], (inputs, labels)))
    second, loss_1 = advance(first, *jax.tree.map(lambda x: x[:1], (inputs, labels)))
    np.testing.assert_allclose(losses, jnp.concatenate([loss_0, loss_1]), rtol=1e-5)
    assert int(together.step) == int(second.step) == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together.params, second.params
    )
    back = second._replace(params=PARAMS)
    _, other = advance(back, *jax.tree.map(lambda x: x[:1], (inputs, labels)))
    assert abs(float(other[0] - loss_0[0])) > 1e-4


def updates(optimizer, gradient, count: int):
    """The update of every one of `count` steps over PARAMS, all with the same gradient."""
    state, found = optimizer.init(PARAMS), []
    for _ in range(count):
        update, state = optimizer.update(gradient, state, PARAMS)
        found.append(update)
    return found


def optimizer(**changes):
    settings = {"total": 10, "warmup": 4, "weight_decay": 0.0, "clip": 1.0, **changes}
    return adamw(1e-3, 1e-2, **settings)


def test_each_part_has_its_rate_which_rises_and_falls():
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    found = updates(optimizer(), ones, 11)
    # Adam's direction under one constant gradient is 1.
    shape = np.array([0, 1, 2, 3, 4, 10 / 3, 8 / 3, 2, 4 / 3, 2 / 3, 0]) / 4
    for part, rate in (("word", 1e-3), ("embeddings", 1e-3), ("blocks", 1e-3), ("head", 1e-2)):
        for leaf in zip(*(jax.tree.leaves(update[part]) for update in found), strict=True):
            np.testing.assert_allclose(
                [x.ravel()[0] for x in leaf], -rate * shape, atol=1e-4 * rate
            )


def test_only_matrices_decay():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    update = updates(optimizer(weight_decay=0.1, warmup=0), zeros, 1)[0]
    head, block = update["head"], update["blocks"][0]
    np.testing.assert_allclose(
        head["classifier"]["kernel"], -1e-3 * PARAMS["head"]["classifier"]["kernel"], rtol=1e-5
    )
    np.testing.assert_allclose(
        update["word"]["embedding"], -1e-4 * PARAMS["word"]["embedding"], rtol=1e-5
    )
    for still in (head["classifier"]["bias"], block["up"]["bias"], block["mix_norm"]["scale"]):
        assert (np.asarray(still) == 0).all()


def test_the_gradient_of_all_parts_is_clipped_together():
    """Adam forgets the size of a gradient, not that of one beside another of another step."""
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    norm = float(optax.tree.norm(ones))
    clipped = optimizer(warmup=0, clip=norm / 2)
    unclipped = optimizer(warmup=0, clip=2 * norm)
    found = {}
    for name, method in (("clipped", clipped), ("unclipped", unclipped)):
        state = method.init(PARAMS)
        small = jax.tree.map(lambda x: 0.1 * x, ones)
        _, state = method.update(small, state, PARAMS)
        update, _ = method.update(ones, state, PARAMS)
        found[name] = -float(update["head"]["classifier"]["bias"][0])

    def adam(second: float) -> float:
        mean = (0.9 * 0.1 * 0.1 + 0.1 * second) / (1 - 0.9**2)
        square = (0.999 * 0.001 * 0.01 + 0.001 * second**2) / (1 - 0.999**2)
        return 1e-2 * 0.9 * mean / np.sqrt(square)

    np.testing.assert_allclose(found["clipped"], adam(0.5), rtol=1e-3)
    np.testing.assert_allclose(found["unclipped"], adam(1.0), rtol=1e-3)
