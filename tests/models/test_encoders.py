"""Every encoder against PyTorch, on tiny random checkpoints, and the laws every `Model` keeps."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_set import shown_by

from diffmask_jax.data.inputs import PackedInputs, TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models.architecture import Architecture, Classifier
from diffmask_jax.models.config import NO_DROPOUT, Dropout
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.models.huggingface.description import check_class, read_description
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.huggingface.weights import read_weights, to_weights
from diffmask_jax.models.loading import ARCHITECTURES, classifier_params, load_encoder
from diffmask_jax.runtime import json_files

LABELS = ("bad", "mixed", "good")
B, T, VOCABULARY = 3, 6, 30
USUAL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 10,
}
ROBERTAS = USUAL | {"type_vocab_size": 1, "pad_token_id": 1}
SHOWN = {"layer_norm_eps": 0.3, "hidden_act": "relu"}
"""Values so far from the usual ones that overlooking them shows."""
DISTILLED = {"dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 24, "vocab_size": VOCABULARY}
ALBERTS = USUAL | {"embedding_size": 8, "num_hidden_layers": 3}
# What is tested -> its model_type, and what its config.json says.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", USUAL | SHOWN),
    "roberta": ("roberta", ROBERTAS),
    "roberta, two segments, pad 0": ("roberta", USUAL | {"pad_token_id": 0, "hidden_act": "relu"}),
    "xlm-roberta": ("xlm-roberta", ROBERTAS),
    "camembert": ("camembert", ROBERTAS | SHOWN),
    "distilbert": ("distilbert", DISTILLED | {"max_position_embeddings": 10}),
    "electra, narrow": ("electra", USUAL | {"embedding_size": 8}),
    "electra, wide": ("electra", USUAL | SHOWN | {"embedding_size": 16}),
    "albert": ("albert", ALBERTS),
    "albert, two groups": (
        "albert",
        ALBERTS | SHOWN | {"num_hidden_groups": 2, "embedding_size": 16},
    ),
    "albert, two groups of two": (
        "albert",
        ALBERTS | {"num_hidden_groups": 2, "inner_group_num": 2, "num_hidden_layers": 2},
    ),
    "mpnet": ("mpnet", USUAL | SHOWN | {"max_position_embeddings": 24}),
}
PLAIN = ("roberta", "distilbert", "electra, narrow", "albert, two groups of two", "mpnet")
SHORT = ("roberta", "albert, two groups of two")
# What blocks and heads do alike in all of them: two show it.
plain = pytest.mark.parametrize("case", shown_by(SHORT, PLAIN), indirect=True)
# Not those that are RoBERTa under another name.
different = pytest.mark.parametrize(
    "case", [name for name in CASES if name not in ("xlm-roberta", "camembert")], indirect=True
)


class Case(NamedTuple):
    """A random checkpoint as PyTorch has it, and as we read it.

    logits, states: of the clean pass. resume: `logits_from` with a traced layer.
    """

    pytorch: Any
    folder: Path
    architecture: Architecture
    config: Any
    params: Params
    model: Model
    inputs: TextInputs
    logits: Any
    states: Any
    resume: Any


def randomised(model):
    """Weights far from their initial values, so that every one of them shows."""
    import torch

    torch.manual_seed(0)
    for name, tensor in model.named_parameters():
        mean = 1.0 if tensor.ndim == 1 and name.endswith("weight") else 0.0
        tensor.data = mean + 0.3 * torch.randn_like(tensor)
    return model.eval()


def transformers_config(model_type: str, sizes: dict[str, Any]):
    import transformers

    names = {"id2label": dict(enumerate(LABELS))}
    return transformers.AutoConfig.for_model(model_type, **sizes, **names)


def random_inputs(config, seed: int = 1) -> TextInputs:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, VOCABULARY, (B, T))
    tokens[0, 2] = getattr(config, "pad", 3)  # padding within a text: RoBERTa counts differently
    return TextInputs(
        tokens=jnp.asarray(tokens, jnp.int32),
        segments=jnp.asarray(rng.integers(0, max(config.segments, 1), (B, T)), jnp.int32),
        valid=jnp.arange(T) < jnp.asarray([6, 4, 1])[:, None],
    )


def load(name: str, folder: Path) -> Case:
    import transformers

    model_type, sizes = CASES[name]
    pytorch = transformers.AutoModelForSequenceClassification.from_config(
        transformers_config(model_type, sizes), attn_implementation="eager"
    )
    randomised(pytorch).save_pretrained(folder)
    found = read_description(folder, list(ARCHITECTURES))
    architecture = ARCHITECTURES[model_type]
    check_class(found, architecture.class_name)
    config = architecture.read_config(folder, found, len(LABELS))
    params = classifier_params(read_weights(folder), architecture, config)
    model = architecture.model(config, CATEGORICAL, jnp.float32, False)
    inputs = random_inputs(config)
    # Operation by operation: each is compiled once for all cases, a program would be for each.
    logits, states = model.states(params, inputs)
    resume = jax.jit(model.logits_from, compiler_options={"xla_backend_optimization_level": 0})
    return Case(
        pytorch, folder, architecture, config, params, model, inputs, logits, states, resume
    )


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory) -> Case:
    pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    return load(request.param, tmp_path_factory.mktemp("checkpoint"))


def pytorch_pass(model, inputs: TextInputs, **more):
    import torch

    def tensor(array):
        return torch.tensor(np.asarray(array), dtype=torch.long)

    if model.config.model_type not in ("distilbert", "mpnet"):
        more["token_type_ids"] = tensor(inputs.segments)
    with torch.inference_mode():
        return model(input_ids=tensor(inputs.tokens), attention_mask=tensor(inputs.valid), **more)


def pytorch_words(model, tokens) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return model.get_input_embeddings()(torch.tensor(np.asarray(tokens))).numpy()


# --- the same numbers as PyTorch -------------------------------------------------------------


def test_every_state_and_the_logits_are_pytorchs(case):
    expected = pytorch_pass(case.pytorch, case.inputs, output_hidden_states=True)
    words = pytorch_words(case.pytorch, case.inputs.tokens)
    states = [words, *(state.numpy() for state in expected.hidden_states)]
    valid = np.asarray(case.inputs.valid)

    np.testing.assert_allclose(case.logits, expected.logits.numpy(), atol=1e-4)
    assert len(case.states) == len(case.model.layers) == len(states)
    for ours, theirs in zip(case.states, states, strict=True):
        np.testing.assert_allclose(np.asarray(ours)[valid], theirs[valid], atol=1e-4)
    assert case.states[0].shape[-1] == case.config.word_width


def test_attention_is_pytorchs(case):
    expected = pytorch_pass(case.pytorch, case.inputs, output_attentions=True).attentions
    found = case.model.attention(case.params, case.inputs, case.states)
    valid = np.asarray(case.inputs.valid)

    assert len(found) == len(expected) == case.config.blocks
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = np.asarray(ours).swapaxes(1, 2), theirs.numpy().swapaxes(1, 2)
        np.testing.assert_allclose(ours[valid], theirs[valid], atol=1e-5)


def test_a_saved_classifier_is_the_same_in_pytorch(case, tmp_path):
    import transformers

    class Tokenizer:
        def save_pretrained(self, folder):
            (Path(folder) / "tokenizer.json").write_text("{}")

    # No source with a config.json, so that all that is written is what `describe` says.
    saved = Classifier(
        case.model, case.params, Tokenizer(), case.config, LABELS, SINGLE_LABEL,
        case.architecture, str(tmp_path / "none"),
    )  # fmt: skip
    save(tmp_path / "saved", saved)
    pytorch, problems = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    found = json_files.read(tmp_path / "saved/config.json")

    assert not any(problems.values()), problems
    assert case.architecture.read_config(tmp_path, found, len(LABELS)) == case.config
    logits = pytorch_pass(pytorch.eval(), case.inputs).logits.numpy()
    np.testing.assert_allclose(logits, pytorch_pass(case.pytorch, case.inputs).logits, atol=1e-6)


@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForMaskedLM"])
@pytest.mark.parametrize("name", PLAIN)
def test_a_pretrained_encoder_is_taken_whole_under_a_fresh_head(name, kind, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    config = transformers_config(*CASES[name])
    pytorch = randomised(getattr(transformers, kind).from_config(config))
    pytorch.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfun\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    classifier = load_encoder(tmp_path, LABELS)

    base = classifier.architecture.base
    tensors = pytorch.state_dict()
    theirs = {name if name.startswith(base) else base + name: tensors[name] for name in tensors}
    ours = to_weights(classifier.params, classifier.architecture.name(classifier.config))
    new = {name for name in ours if name not in theirs}
    for name in ours.keys() - new:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert all("pooler" in name for name in new if name.startswith(base)), new
    assert {f"{base}embeddings.word_embeddings.weight"} <= ours.keys() - new
    assert any(name.endswith("weight") and not name.startswith(base) for name in new)


@pytest.mark.parametrize("case", ["roberta"], indirect=True)
def test_a_pooler_that_a_head_does_not_read_is_ignored(case):
    old = read_weights(case.folder) | {"roberta.pooler.dense.weight": np.ones((16, 16))}
    params = classifier_params(old, case.architecture, case.config)
    jax.tree.map(np.testing.assert_array_equal, params, case.params)


# --- the laws of a model ---------------------------------------------------------------------


@different
def test_resuming_anywhere_gives_the_clean_logits(case):
    """With an int layer; and with a traced one, where all states are as wide as the widest."""
    widest = max(state.shape[-1] for state in case.states)
    for layer, state in enumerate(case.states):
        logits = case.model.logits_from(case.params, case.inputs, state, layer)
        np.testing.assert_allclose(logits, case.logits, atol=1e-5)
        for beyond in (0.0, 7.0):
            added = [(0, 0), (0, 0), (0, widest - state.shape[-1])]
            wide = jnp.pad(state, added, constant_values=beyond)
            logits = case.resume(case.params, case.inputs, wide, jnp.int32(layer))
            np.testing.assert_allclose(logits, case.logits, atol=1e-5)


@different
def test_padding_changes_no_logit(case):
    valid, other = case.inputs.valid, random_inputs(case.config, seed=2)
    garbage = TextInputs(
        jnp.where(valid, case.inputs.tokens, other.tokens),
        jnp.where(valid, case.inputs.segments, other.segments),
        valid,
    )
    assert (garbage.tokens != case.inputs.tokens).any()
    logits, states = case.model.states(case.params, garbage)
    np.testing.assert_array_equal(logits, case.logits)

    widest = max(state.shape[-1] for state in case.states)
    for layer, state in enumerate(states):
        spoilt = jnp.where(valid[..., None], state, 50.0)
        wide = jnp.pad(spoilt, [(0, 0), (0, 0), (0, widest - state.shape[-1])])
        logits = case.resume(case.params, garbage, wide, jnp.int32(layer))
        np.testing.assert_allclose(logits, case.logits, atol=1e-5)


@plain
def test_texts_that_share_a_row_do_not_see_one_another(case):
    """Those of 4 pieces and of 1 in one row; that of 6 amid padding in another."""
    row, start, lengths = [1, 0, 0], [1, 0, 4], [6, 4, 1]
    tokens, segments, places = np.zeros((3, 2, 8), np.int32)
    valid = np.zeros((2, 8), bool)
    for text in range(B):
        here = row[text], slice(start[text], start[text] + lengths[text])
        tokens[here] = case.inputs.tokens[text, : lengths[text]]
        segments[here] = case.inputs.segments[text, : lengths[text]]
        places[here], valid[here] = np.arange(lengths[text]), True
    assert case.model.packs
    inputs = PackedInputs(tokens, segments, valid, places)
    logits, states = jax.jit(case.model.states)(case.params, inputs)
    for text in range(B):
        alone, together = slice(lengths[text]), slice(start[text], start[text] + lengths[text])
        np.testing.assert_allclose(logits[row[text], start[text]], case.logits[text], atol=1e-4)
        for ours, expected in zip(states, case.states, strict=True):
            np.testing.assert_allclose(ours[row[text], together], expected[text, alone], atol=1e-4)


@plain
def test_bfloat16_gives_nearly_the_same_logits(case):
    model = case.architecture.model(case.config, CATEGORICAL, jnp.bfloat16, False)
    logits, states = model.states(case.params, case.inputs)
    resumed = model.logits_from(case.params, case.inputs, states[0], 0)

    assert {state.dtype for state in states} == {jnp.dtype(jnp.bfloat16)}
    assert logits.dtype == resumed.dtype == jnp.float32
    np.testing.assert_allclose(logits, case.logits, atol=0.3)
    np.testing.assert_allclose(resumed, logits, atol=0.05)


@plain
def test_recomputing_gives_the_same_gradients(case):
    """Through the head and the last two blocks."""

    def gradient(remat: bool):
        model = case.architecture.model(case.config, CATEGORICAL, jnp.float32, remat)

        def first(state):
            layer = len(model.layers) - 3
            return jnp.sum(model.logits_from(case.params, case.inputs, state, layer)[:, 0])

        return jax.grad(first)(case.states[-3])

    found = gradient(True)
    np.testing.assert_allclose(found, gradient(False), atol=1e-5)
    assert np.asarray(found)[np.asarray(case.inputs.valid)].any(axis=-1).all()


@plain
def test_training_drops_values_by_the_key(case):
    def logits(dropout: Dropout, key: int):
        config = dataclasses.replace(case.config, dropout=dropout)
        training = case.architecture.training_logits(config)
        return training(case.params, case.inputs, jax.random.key(key))

    some = Dropout(0.3, 0.3, 0.3)
    np.testing.assert_allclose(logits(NO_DROPOUT, 0), case.logits, atol=1e-5)
    np.testing.assert_array_equal(logits(some, 0), logits(some, 0))
    assert not np.allclose(logits(some, 0), logits(some, 1))


# --- what cannot be run ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("roberta", {"is_decoder": True}, "is_decoder"),
        ("roberta", {"hidden_act": "mish"}, "mish"),
        ("roberta", {"pad_token_id": None}, "pad_token_id"),
        ("roberta", {"max_position_embeddings": 2}, "max_position_embeddings"),
        ("distilbert", {"activation": "mish"}, "mish"),
        ("distilbert", {"n_heads": 3}, "multiple"),
        ("distilbert", {"dim": None}, "dim"),
        ("electra, narrow", {"is_decoder": True}, "is_decoder"),
        ("electra, narrow", {"embedding_size": "wide"}, "embedding_size"),
        ("albert", {"position_embedding_type": "relative_key_query"}, "position_embedding_type"),
        ("albert", {"num_hidden_groups": 4}, "num_hidden_groups"),
        ("albert", {"inner_group_num": 0}, "inner_group_num"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(name, more, words, tmp_path):
    model_type, sizes = CASES[name]
    found = {"type_vocab_size": 2, "model_type": model_type} | sizes | more
    with pytest.raises(UserError, match=words) as refusal:
        ARCHITECTURES[model_type].read_config(tmp_path, found, len(LABELS))
    assert "\n" not in str(refusal.value)


def test_a_roberta_with_norms_before_its_layers_is_not_taken_for_one(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta-prelayernorm"}))
    with pytest.raises(UserError, match="roberta-prelayernorm"):
        read_description(tmp_path, list(ARCHITECTURES))


def test_distilbert_knows_berts_names_of_its_sizes(tmp_path):
    read, sizes = ARCHITECTURES["distilbert"].read_config, CASES["distilbert"][1]
    berts = {"dim": "hidden_size", "n_heads": "num_attention_heads"}
    found = {berts.get(key, key): value for key, value in sizes.items()}
    assert read(tmp_path, found, 3) == read(tmp_path, sizes, 3)


def test_mpnets_distances_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    from diffmask_jax.models.mpnet import buckets

    offsets = np.arange(-600, 601)
    expected = MPNetEncoder.relative_position_bucket(torch.tensor(offsets))
    np.testing.assert_array_equal(buckets(offsets), expected)
