"""BERT against PyTorch, and the laws every `Model` keeps: resuming, padding, gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_params import random_params
from shared import shared

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.model import Model
from diffmask_jax.models.attention import padding_bias
from diffmask_jax.models.bert import BERT
from diffmask_jax.models.config import ACTIVATIONS, EncoderConfig
from diffmask_jax.models.loading import load_classifier

CONFIG = EncoderConfig(
    vocabulary=40, positions=16, segments=2, width=24, heads=3, blocks=2, intermediate=36, classes=4
)


def bert_classifier(config: EncoderConfig, dtype=jnp.float32, remat: bool = False) -> Model:
    return BERT.model(config, CATEGORICAL, dtype, remat)


MODEL = bert_classifier(CONFIG)
STATES = len(MODEL.layers)
B, T = 4, 7


def random_inputs(seed: int, lengths=(7, 5, 2, 1)) -> TextInputs:
    rng = np.random.default_rng(seed)
    return TextInputs(
        tokens=jnp.asarray(rng.integers(0, CONFIG.vocabulary, (B, T))),
        segments=jnp.asarray(rng.integers(0, CONFIG.segments, (B, T))),
        valid=jnp.arange(T) < jnp.asarray(lengths)[:, None],
    )


PARAMS = random_params(BERT, CONFIG, seed=0, deviation=0.3)
INPUTS = random_inputs(1)
clean_pass = jax.jit(MODEL.states)
resume_traced = jax.jit(MODEL.logits_from)
resume_static = jax.jit(MODEL.logits_from, static_argnames="layer")


# --- the same numbers as PyTorch -------------------------------------------------------------


@pytest.fixture(scope="module")
def pytorch(tmp_path_factory):
    """A random classifier saved by transformers: as we load it, and the PyTorch model."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=CONFIG.vocabulary,
            hidden_size=CONFIG.width,
            num_hidden_layers=CONFIG.blocks,
            num_attention_heads=CONFIG.heads,
            intermediate_size=CONFIG.intermediate,
            max_position_embeddings=CONFIG.positions,
            num_labels=CONFIG.classes,
        )
    ).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("pytorch")
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfun\n")
    return load_classifier(folder), model


def pytorch_pass(model, inputs: TextInputs, **kwargs):
    """The logits and every state, as NumPy arrays."""
    import torch

    with torch.inference_mode():
        found = model(
            token_type_ids=torch.tensor(np.asarray(inputs.segments), dtype=torch.long),
            attention_mask=torch.tensor(np.asarray(inputs.valid), dtype=torch.long),
            output_hidden_states=True,
            **kwargs,
        )
    return found.logits.numpy(), [state.numpy() for state in found.hidden_states]


def assert_agrees(model, pytorch_model, params, inputs: TextInputs):
    import torch

    tokens = torch.tensor(np.asarray(inputs.tokens), dtype=torch.long)
    with torch.inference_mode():
        words = pytorch_model.get_input_embeddings()(tokens).numpy()
    expected_logits, expected = pytorch_pass(pytorch_model, inputs, input_ids=tokens)
    logits, states = jax.jit(model.states)(params, inputs)

    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)
    assert len(states) == len(model.layers) == 1 + len(expected)
    valid = np.asarray(inputs.valid)
    for state, other in zip(states, [words, *expected], strict=True):
        np.testing.assert_allclose(np.asarray(state)[valid], other[valid], atol=1e-4)


def test_every_state_and_the_logits_are_pytorchs(pytorch):
    checkpoint, pytorch_model = pytorch
    assert checkpoint.config == CONFIG
    assert_agrees(checkpoint.network, pytorch_model, checkpoint.params, INPUTS)


def test_a_published_checkpoint_gives_pytorchs_states():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    folder, trees = shared("models/sst5-minilm", "data/sst/dev.txt")
    import transformers

    pytorch_model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    checkpoint = load_classifier(folder)
    lines = trees.read_text(encoding="utf-8").splitlines()[:16]
    texts = [" ".join(re.findall(r"[^\s()]+(?=\))", line)) for line in lines]
    by_pytorch = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = by_pytorch(texts, padding=True, return_tensors="np")
    inputs = TextInputs(
        tokens=jnp.asarray(encoded["input_ids"]),
        segments=jnp.asarray(encoded["token_type_ids"]),
        valid=jnp.asarray(encoded["attention_mask"], dtype=bool),
    )
    assert not inputs.valid.all()
    torch.set_num_threads(2)
    assert_agrees(checkpoint.network, pytorch_model, checkpoint.params, inputs)


@pytest.mark.parametrize("layer", range(STATES))
def test_a_replaced_state_acts_as_in_pytorch(pytorch, layer):
    import torch

    checkpoint, pytorch_model = pytorch
    new = np.random.default_rng(layer).normal(size=(B, T, CONFIG.width)).astype(np.float32)
    bert = pytorch_model.bert
    reader = [None, *bert.encoder.layer, bert.pooler][layer]
    if reader is None:
        expected, _ = pytorch_pass(pytorch_model, INPUTS, inputs_embeds=torch.tensor(new))
    else:
        hook = reader.register_forward_pre_hook(lambda _, args: (torch.tensor(new), *args[1:]))
        tokens = torch.tensor(np.asarray(INPUTS.tokens), dtype=torch.long)
        expected, _ = pytorch_pass(pytorch_model, INPUTS, input_ids=tokens)
        hook.remove()

    logits = resume_static(checkpoint.params, INPUTS, jnp.asarray(new), layer=layer)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    clean, _ = clean_pass(checkpoint.params, INPUTS)
    assert np.abs(logits - clean).max() > 0.1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    from transformers.activations import ACT2FN

    x = np.linspace(-6, 6, 101, dtype=np.float32)
    expected = ACT2FN[name](torch.tensor(x)).numpy()
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(x)), expected, atol=2e-6)


# --- resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", range(STATES))
def test_resuming_from_the_clean_state_is_the_clean_pass(layer):
    logits, states = clean_pass(PARAMS, INPUTS)
    static = resume_static(PARAMS, INPUTS, states[layer], layer=layer)
    traced = resume_traced(PARAMS, INPUTS, states[layer], jnp.asarray(layer))
    np.testing.assert_allclose(static, logits, atol=1e-5)
    np.testing.assert_allclose(traced, logits, atol=1e-5)


def score(state, layer):
    return jnp.sum(jnp.sin(MODEL.logits_from(PARAMS, INPUTS, state, layer)))


gradient_traced = jax.jit(jax.grad(score))
gradient_static = jax.jit(jax.grad(score), static_argnums=1)


@pytest.mark.parametrize("layer", range(STATES))
def test_gradients_through_a_traced_and_a_static_layer_agree(layer):
    _, states = clean_pass(PARAMS, INPUTS)
    static = gradient_static(states[layer], layer)
    traced = gradient_traced(states[layer], jnp.asarray(layer))
    assert np.abs(static).max() > 1e-4
    np.testing.assert_allclose(traced, static, atol=1e-5)


def matrix_products(layer) -> int:
    """How many products run unconditionally when resuming from `layer`."""
    jaxpr = jax.make_jaxpr(MODEL.logits_from, static_argnums=3 if isinstance(layer, int) else ())(
        PARAMS, INPUTS, jnp.zeros((B, T, CONFIG.width)), layer
    )
    return sum(primitive == "dot_general" for primitive, _ in unconditional(jaxpr.jaxpr))


def unconditional(jaxpr):
    """(name, shape of the result) of what runs whatever the numbers are."""
    for equation in jaxpr.eqns:
        if "policy" in equation.params:  # jax.checkpoint, whose primitive has had several names
            yield from unconditional(equation.params["jaxpr"])
        elif equation.params.get("name") == "_climb":  # a block, traced once for all
            yield from unconditional(equation.params["jaxpr"].jaxpr)
        yield equation.primitive.name, equation.outvars[0].aval.shape


def test_blocks_below_the_layer_are_not_computed():
    in_head, in_block = 2, 8
    assert matrix_products(STATES - 1) == in_head
    assert matrix_products(STATES - 2) == in_head + in_block
    assert matrix_products(0) == in_head + CONFIG.blocks * in_block
    assert matrix_products(jnp.asarray(0)) == in_head


def test_of_the_last_block_only_what_the_head_reads_is_computed():
    def positions(layer):
        state = jnp.zeros((B, T, CONFIG.width))
        jaxpr = jax.make_jaxpr(lambda h: MODEL.logits_from(PARAMS, INPUTS, h, layer))(state)
        wide = [shape[1] for _, shape in unconditional(jaxpr.jaxpr)
                if shape[-1:] == (CONFIG.intermediate,) and len(shape) == 3]  # fmt: skip
        return set(wide)

    assert positions(STATES - 2) == {1}
    assert positions(STATES - 3) == {T, 1}


@pytest.mark.parametrize("remat", [False, True])
def test_what_the_backward_pass_keeps_changes_time_alone(remat):
    """As a rule only attention's scores are computed again; with remat, every product is."""
    model = bert_classifier(CONFIG, remat=remat)

    def score(state):
        return jnp.sum(jnp.sin(model.logits_from(PARAMS, INPUTS, state, 0)))

    _, states = clean_pass(PARAMS, INPUTS)
    gradient = jax.jit(jax.grad(score))
    np.testing.assert_allclose(gradient(states[0]), gradient_static(states[0], 0), atol=1e-5)
    products = str(jax.make_jaxpr(jax.grad(score))(states[0])).count("= dot_general")
    forward, backward, in_head = 6 + 2, 6 + 4, 2 + 2
    again = 8 if remat else 1
    assert products == in_head + CONFIG.blocks * (forward + backward + again)


# --- padding ---------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    lengths=st.tuples(*[st.integers(1, T)] * B),
    size=st.sampled_from([1.0, 1e3, 1e6]),
    layer=st.integers(0, STATES - 1),
)
def test_what_stands_in_padding_changes_nothing(seed, lengths, size, layer):
    inputs = random_inputs(seed, lengths)
    other = random_inputs(seed + 1, lengths)
    there = inputs.valid[..., None]
    garbage = inputs._replace(
        tokens=jnp.where(inputs.valid, inputs.tokens, other.tokens),
        segments=jnp.where(inputs.valid, inputs.segments, other.segments),
    )
    logits, states = clean_pass(PARAMS, inputs)
    same_logits, same_states = clean_pass(PARAMS, garbage)
    np.testing.assert_allclose(same_logits, logits, atol=1e-6)
    for state, same in zip(states, same_states, strict=True):
        np.testing.assert_allclose(jnp.where(there, same - state, 0), 0, atol=1e-6)

    noise = size * jax.random.normal(jax.random.key(seed), states[layer].shape)
    replaced = jnp.where(there, states[layer], noise)
    resumed = resume_traced(PARAMS, inputs, replaced, jnp.asarray(layer))
    np.testing.assert_allclose(resumed, logits, atol=1e-5)


def test_more_padding_changes_nothing():
    logits, states = clean_pass(PARAMS, INPUTS)
    padded = TextInputs(*(jnp.pad(array, ((0, 2), (0, 5))) for array in INPUTS))
    padded_logits, padded_states = clean_pass(PARAMS, padded)
    np.testing.assert_allclose(padded_logits[:B], logits, atol=1e-5)
    for state, other in zip(states, padded_states, strict=True):
        difference = jnp.where(INPUTS.valid[..., None], other[:B, :T] - state, 0)
        np.testing.assert_allclose(difference, 0, atol=1e-5)
    assert np.isfinite(padded_logits).all(), "rows that are all padding must stay finite"


def test_no_gradient_reaches_padding():
    _, states = clean_pass(PARAMS, INPUTS)
    gradient = gradient_static(states[0], 0)
    size = np.abs(gradient).max(axis=-1)
    assert (size[~np.asarray(INPUTS.valid)] == 0).all()
    assert (size[np.asarray(INPUTS.valid)] > 0).all()


def test_the_padding_bias_is_finite():
    bias = padding_bias(jnp.asarray([[True, False]]))
    assert bias[0, 0, 0, 0] == 0
    assert np.isfinite(bias).all() and bias[0, 0, 0, 1] < -1e30


# --- numbers, names, mistakes ----------------------------------------------------------------


def test_bfloat16_stays_near_float32():
    model = bert_classifier(CONFIG, jnp.bfloat16)
    logits, states = jax.jit(model.states)(PARAMS, INPUTS)
    exact_logits, exact = clean_pass(PARAMS, INPUTS)
    assert logits.dtype == jnp.float32
    assert {state.dtype for state in states} == {jnp.dtype(jnp.bfloat16)}
    for state, other in zip(states, exact, strict=True):
        error = (state.astype(jnp.float32) - other)[INPUTS.valid]
        assert jnp.std(error) < 0.02 * jnp.std(other[INPUTS.valid])
    np.testing.assert_allclose(logits, exact_logits, atol=0.1)
    resumed = jax.jit(model.logits_from)(PARAMS, INPUTS, exact[2], jnp.asarray(2))
    np.testing.assert_allclose(resumed, exact_logits, atol=0.1)


def test_initial_parameters_are_float32_and_give_a_working_model():
    params = BERT.init(jax.random.key(0), CONFIG)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    blocks = [block["up"]["kernel"] for block in params["blocks"]]
    assert len(blocks) == CONFIG.blocks and not np.array_equal(blocks[0], blocks[1])
    logits, _ = clean_pass(params, INPUTS)
    assert logits.shape == (B, CONFIG.classes) and np.isfinite(logits).all()


def test_layers_are_labelled_as_in_the_plots():
    assert MODEL.layers == ("W", "E", "1", "2")
    assert MODEL.family is CATEGORICAL


def test_a_text_longer_than_the_positions_is_refused():
    inputs = TextInputs(*(jnp.pad(array, ((0, 0), (0, 10))) for array in INPUTS))
    with pytest.raises(UserError, match=r"17 word pieces.*16 positions"):
        MODEL.states(PARAMS, inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"heads": 5}, "width 24 is not a multiple of the 5 heads"), ({"activation": "mish"}, "mish")],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        EncoderConfig(**{**CONFIG.__dict__, **change})
