"""A folder is loaded as what it says it is; what is broken or of another kind is one clear line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from bert_folder import (
    VOCABULARY,
    WEIGHTS,
    assert_refused,
    assert_same,
    save_rest,
    save_safetensors,
)
from shared import shared

from diffmask_jax.errors import UserError
from diffmask_jax.models.config import Dropout, EncoderConfig
from diffmask_jax.models.gru_classifier import GruConfig
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.models.huggingface.tokenizers import read_tokenizer
from diffmask_jax.models.huggingface.weights import to_weights
from diffmask_jax.models.loading import ARCHITECTURES, load_classifier, load_encoder


@pytest.fixture
def folder(tmp_path):
    """A checkpoint that is in order."""
    save_rest(tmp_path)
    save_safetensors(tmp_path)
    return tmp_path


# --- what loads ------------------------------------------------------------------------------


def test_pairs_of_a_model_of_transformers_4_have_segments(folder):
    """Also by a tokenizer without a class of its own, which in version 5 feeds none."""
    read_tokenizer(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    for version, fed in (("4.40.0", True), ("5.1.0", False)):
        save_rest(folder, transformers_version=version)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (pair,) = load_classifier(folder).encode([("fun", "fun")])
        assert pair.segments.tolist() == [0, 0, 0, fed, fed]


def test_quantised_weights_are_refused(folder):
    save_rest(folder, quantization_config={"quant_method": "fp8"})
    assert_refused(folder, "has a quantization_config: quantised weights are not supported")


def test_each_kind_by_its_own_architecture(tiny_bert, tiny_gru):
    for folder, kind, config in (
        (tiny_bert, "bert", EncoderConfig),
        (tiny_gru, "diffmask_gru", GruConfig),
    ):
        found = load_classifier(str(folder))
        assert found.architecture is ARCHITECTURES[kind] and isinstance(found.config, config)
        assert found.labels == ("bad", "mixed", "good") and found.head is SINGLE_LABEL
        assert found.path == str(folder)
        weights = to_weights(found.params, found.architecture.name(found.config))
        assert_same(weights, safetensors.numpy.load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("kind", ["t5", ["bert"]])
def test_another_kind_is_told_what_is_supported(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(UserError) as refusal:
        load_classifier(tmp_path)
    supported = ", ".join(ARCHITECTURES)
    assert str(refusal.value) == f"model_type {kind!r} is not supported, only {supported}"
    assert {"bert", "diffmask_gru"} <= set(ARCHITECTURES)


@pytest.mark.parametrize("described", [{}, {"model_type": None}])
def test_a_folder_that_says_no_kind_is_named(tmp_path, described):
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="names no model_type: the folder contains no known model"):
        load_classifier(tmp_path)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load_classifier(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"no config\.json"):
        load_classifier(tmp_path)


def test_a_checkpoint_says_what_it_is(folder):
    checkpoint = load_classifier(folder)
    assert checkpoint.labels == ("bad", "good", "last")
    assert checkpoint.config.classes == 3 and checkpoint.config.epsilon == 1e-12
    assert checkpoint.network.layers == ("W", "E", "1", "2")
    assert checkpoint.path == str(folder)
    block = checkpoint.params["blocks"][1]
    np.testing.assert_array_equal(
        block["up"]["kernel"], WEIGHTS["bert.encoder.layer.1.intermediate.dense.weight"].T
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Dropout(0.1, 0.1, 0.1)),
        ({"hidden_dropout_prob": 0.3, "classifier_dropout": None}, Dropout(0.3, 0.1, 0.3)),
        ({"attention_probs_dropout_prob": 0, "classifier_dropout": 0.2}, Dropout(0.1, 0, 0.2)),
    ],
)
def test_dropout_is_read_with_the_defaults_of_transformers(folder, changes, expected):
    save_rest(folder, **changes)
    assert load_classifier(folder).config.dropout == expected


# --- an encoder, whose head is made anew -----------------------------------------------------

ENCODER = {name: tensor for name, tensor in WEIGHTS.items() if "classifier" not in name}
WITHOUT_POOLER = {name: tensor for name, tensor in ENCODER.items() if "pooler" not in name}
PREDICTIONS = {
    "cls.predictions.bias": np.ones(12, np.float32),
    "cls.seq_relationship.weight": np.ones((2, 8), np.float32),
}


def bare(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names that BertModel gives its tensors."""
    return {name.removeprefix("bert."): tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    ("weights", "has_pooler"),
    [
        (WEIGHTS, True),
        (ENCODER, True),
        (WITHOUT_POOLER, False),
        (bare(ENCODER) | {"embeddings.position_ids": np.arange(16)[None]}, True),
        (bare(WITHOUT_POOLER), False),
        (ENCODER | PREDICTIONS, True),
        (WEIGHTS | {"classifier.weight": np.ones((7, 8)), "classifier.bias": np.ones(7)}, True),
    ],
)
def test_an_encoder_of_any_kind_gets_a_fresh_head(folder, weights, has_pooler):
    expected = load_classifier(folder).params
    save_safetensors(folder, weights)
    save_rest(folder, id2label={"0": "score"})
    checkpoint = load_encoder(folder, ["no", "maybe", "yes", "surely"])
    assert checkpoint.labels == ("no", "maybe", "yes", "surely")
    assert checkpoint.config.classes == 4
    params = checkpoint.params
    for part in ("word", "embeddings", "blocks"):
        assert_same(params[part], expected[part])
    pooler, classifier = params["head"]["pooler"], params["head"]["classifier"]
    if has_pooler:
        assert_same(pooler, expected["head"]["pooler"])
    for fresh in [classifier] if has_pooler else [classifier, pooler]:
        assert (np.asarray(fresh["bias"]) == 0).all()
        assert 0.01 < np.std(fresh["kernel"]) < 0.03
    assert classifier["kernel"].shape == (8, 4)


def test_the_head_depends_on_the_seed_alone(folder):
    heads = [load_encoder(folder, "ab", seed).params["head"]["classifier"] for seed in (0, 0, 1)]
    assert_same(heads[0], heads[1])
    assert not np.array_equal(heads[0]["kernel"], heads[2]["kernel"])


@pytest.mark.parametrize("labels", [[], ["one"], ["same", "same"], ["name", " "]])
def test_classes_without_different_names_are_refused(folder, labels):
    with pytest.raises(UserError, match="two or more different names"):
        load_encoder(folder, labels)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "vocab.txt").unlink(), "no tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: save_rest(folder, model_type="t5"), "'t5' is not supported"),
        (lambda folder: save_rest(folder, hidden_size=4), "config.json asks for"),
        (lambda folder: save_safetensors(folder, PREDICTIONS), "lack the tensor"),
        (
            lambda folder: (folder / "vocab.txt").write_text("\n".join([*VOCABULARY, *"xyz"])),
            "pieces",
        ),
    ],
)
def test_an_encoder_that_cannot_be_had_is_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message) as refusal:
        load_encoder(folder, ["no", "yes"])
    assert "\n" not in str(refusal.value)


# --- the tokenizer ---------------------------------------------------------------------------


def save_tokenizer_json(folder: Path) -> None:
    """The vocabulary as tokenizer.json, carrying a truncation and a padding as many do."""
    backend = read_tokenizer(folder).backend_tokenizer
    backend.enable_truncation(4)
    backend.enable_padding(length=9)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()


@pytest.mark.parametrize("convert", [lambda folder: None, save_tokenizer_json])
def test_the_tokenizer_neither_truncates_nor_pads(folder, convert):
    convert(folder)
    known = load_classifier(folder).tokenizer
    tokenizer = known.by_transformers()
    encoded = tokenizer("A funny, funny film.", return_tensors="np")
    words = ["[CLS]", "a", "fun", "##ny", ",", "fun", "##ny", "film", ".", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"][0]) == words
    assert known.backend_tokenizer.encode("A funny, funny film.").tokens == words
    assert known.mask_token_id == tokenizer.mask_token_id == 4
    assert encoded.word_ids() == [None, 0, 1, 1, 2, 3, 3, 4, 5, None]


def test_the_tokenizer_is_the_one_auto_tokenizer_gives():
    folder, trees = shared("models/sst5-minilm", "data/sst/dev.txt")
    from transformers import AutoTokenizer

    lines = trees.read_text(encoding="utf-8").splitlines()[:100]
    texts = [" ".join(re.findall(r"[^\s()]+(?=\))", line)) for line in lines]
    texts += ["Crème brûlée — 東京!", "don't [MASK] it", ""]
    ours, theirs = read_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]


def test_another_tokenizer_class_is_read_by_auto_tokenizer(folder):
    save_tokenizer_json(folder)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    backend = load_classifier(folder).tokenizer.backend_tokenizer
    assert backend.encode("a fun, fun film").ids == [2, 5, 6, 10, 6, 8, 3]


def test_a_classifier_without_its_encoder_s_prefix_is_the_same(folder):
    """As transformers reads it, too."""
    whole = load_classifier(folder)
    bare = {name.removeprefix("bert."): tensor for name, tensor in WEIGHTS.items()}
    assert bare.keys() != WEIGHTS.keys()
    save_safetensors(folder, bare)
    assert_same(load_classifier(folder).params, whole.params)
    save_safetensors(folder, {k: v for k, v in bare.items() if "classifier" not in k})
    assert_refused(folder, "no classification head", "fine-tune")


def test_a_position_type_of_null_is_the_usual_one(folder):
    save_rest(folder)
    config = json.loads((folder / "config.json").read_text()) | {"position_embedding_type": None}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_classifier(folder).config.positions > 0


def test_a_bare_class_with_a_head_is_a_classifier(folder):
    whole = load_classifier(folder)
    save_rest(folder, architectures=["BertModel"])
    assert_same(load_classifier(folder).params, whole.params)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_a_missing_text_file_is_named(folder, name):
    (folder / name).unlink()
    assert_refused(folder, name, str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_text_file_is_refused(folder, name, text):
    (folder / name).write_text(text)
    assert_refused(folder, str(folder))


def test_a_checkpoint_without_a_head_asks_for_fine_tuning(folder):
    save_safetensors(folder, {k: v for k, v in WEIGHTS.items() if "classifier" not in k})
    assert_refused(folder, "no classification head", "fine-tune")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "t5"}, ["model_type 't5'", "bert, "]),
        ({"model_type": None}, ["names no model_type", "no known model"]),
        ({"position_embedding_type": "relative_key"}, ["relative_key", "absolute"]),
        ({"is_decoder": True}, ["is_decoder"]),
        ({"pruned_heads": {"0": [1]}}, ["pruned_heads"]),
        ({"hidden_act": "mish"}, ["mish", "gelu"]),
        ({"hidden_size": None}, ["hidden_size", "is missing"]),
        ({"hidden_size": "8"}, ["hidden_size", '"8"']),
        ({"num_attention_heads": 3}, ["8", "3 heads"]),
        ({"hidden_dropout_prob": "0.1"}, ["hidden_dropout_prob", '"0.1"']),
        ({"classifier_dropout": 1.0}, ["dropout", "1.0"]),
        ({"id2label": {"bad": "0", "good": "1"}}, ["id2label"]),
        ({"id2label": ["bad", "good"]}, ["id2label"]),
        ({"vocab_size": 10}, ["bert.embeddings.word_embeddings.weight", "(12, 8)", "(10, 8)"]),
    ],
)
def test_a_configuration_we_cannot_run_is_refused(folder, changes, words):
    save_rest(folder, **changes)
    assert_refused(folder, *words)


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(folder):
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY, "two", "more"]) + "\n")
    assert_refused(folder, "gives 'more' the number 12", "only 12 pieces")
