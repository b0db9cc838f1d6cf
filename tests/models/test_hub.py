"""Checkpoints in every format give the same parameters; every broken one gives one clear line."""

import json
import re
import sys
from pathlib import Path

import flax.serialization
import flax.traverse_util
import huggingface_hub
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax.errors import UserError
from diffmask_jax.models.bert_config import Dropout
from diffmask_jax.models.hub import load_bert, load_encoder, read_tokenizer

SHARED = Path(__file__).parents[2] / ".." / "shared"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fun", "##ny", "film", ".", ","]
CONFIG = {
    "model_type": "bert",
    "vocab_size": 12,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "hidden_act": "gelu",
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "id2label": {"2": "last", "0": "bad", "1": "good"},
}


def pytorch_weights() -> dict[str, np.ndarray]:
    """What BertForSequenceClassification of this configuration holds, with random values."""
    rng = np.random.default_rng(0)
    shapes = {
        "bert.embeddings.word_embeddings.weight": (12, 8),
        "bert.embeddings.position_embeddings.weight": (16, 8),
        "bert.embeddings.token_type_embeddings.weight": (2, 8),
        "bert.embeddings.LayerNorm.weight": (8,),
        "bert.embeddings.LayerNorm.bias": (8,),
        "bert.pooler.dense.weight": (8, 8),
        "bert.pooler.dense.bias": (8,),
        "classifier.weight": (3, 8),
        "classifier.bias": (3,),
    }
    linear = {
        "attention.self.query": (8, 8),
        "attention.self.key": (8, 8),
        "attention.self.value": (8, 8),
        "attention.output.dense": (8, 8),
        "intermediate.dense": (10, 8),
        "output.dense": (8, 10),
    }
    for block in ("bert.encoder.layer.0", "bert.encoder.layer.1"):
        for name, shape in linear.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{block}.{name}.weight": (8,), f"{block}.{name}.bias": (8,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


WEIGHTS = pytorch_weights()


def save_safetensors(folder: Path, weights=WEIGHTS) -> None:
    safetensors.numpy.save_file(weights, folder / "model.safetensors")


def save_shards(folder: Path) -> None:
    names = list(WEIGHTS)
    shards = {"model-00001-of-00002.safetensors": names[:7]}
    shards["model-00002-of-00002.safetensors"] = names[7:]
    for shard, held in shards.items():
        safetensors.numpy.save_file({name: WEIGHTS[name] for name in held}, folder / shard)
    place = {name: shard for shard, held in shards.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))


def save_msgpack(folder: Path) -> None:
    """As FlaxBertForSequenceClassification of transformers 4 does."""
    flat = {}
    for name, tensor in WEIGHTS.items():
        *module, leaf = name.split(".")
        if leaf == "weight" and module[-1].endswith("embeddings"):
            leaf = "embedding"
        elif leaf == "weight" and module[-1] == "LayerNorm":
            leaf = "scale"
        elif leaf == "weight":
            leaf, tensor = "kernel", np.ascontiguousarray(tensor.T)
        flat[(*module, leaf)] = tensor
    tree = flax.traverse_util.unflatten_dict(flat)
    (folder / "flax_model.msgpack").write_bytes(flax.serialization.to_bytes(tree))


def save_pickle(folder: Path, dtype: str = "float32") -> None:
    torch = pytest.importorskip("torch", reason="PyTorch writes and reads .bin files")
    tensors = {k: torch.tensor(v).to(getattr(torch, dtype)) for k, v in WEIGHTS.items()}
    torch.save(tensors, folder / "pytorch_model.bin")


def save_rest(folder: Path, **changes) -> None:
    """config.json and a tokenizer; a change of None leaves the key out."""
    config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")


@pytest.fixture
def folder(tmp_path):
    """A checkpoint that is in order."""
    save_rest(tmp_path)
    save_safetensors(tmp_path)
    return tmp_path


def assert_same(params, others) -> None:
    assert jax.tree.structure(params) == jax.tree.structure(others)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, params, others)


def assert_refused(place, *words: str) -> None:
    """One line that says every one of the words."""
    with pytest.raises(UserError) as refusal:
        load_bert(place)
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


# --- what loads ------------------------------------------------------------------------------


def test_a_checkpoint_says_what_it_is(folder):
    checkpoint = load_bert(folder)
    assert checkpoint.labels == ("bad", "good", "last")
    assert checkpoint.config.classes == 3 and checkpoint.config.epsilon == 1e-12
    assert checkpoint.model.layers == ("W", "E", "1", "2")
    assert checkpoint.path == str(folder)
    block = checkpoint.params["blocks"][1]
    np.testing.assert_array_equal(
        block["up"]["kernel"], WEIGHTS["bert.encoder.layer.1.intermediate.dense.weight"].T
    )


@pytest.mark.parametrize("save", [save_shards, save_msgpack, save_pickle])
def test_every_format_gives_the_same_parameters(folder, tmp_path_factory, save):
    other = tmp_path_factory.mktemp("other")
    save_rest(other)
    save(other)
    assert_same(load_bert(other).params, load_bert(folder).params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(folder, dtype):
    rounded = {name: tensor.astype(dtype) for name, tensor in WEIGHTS.items()}
    save_safetensors(folder, {name: tensor.astype(np.float32) for name, tensor in rounded.items()})
    expected = load_bert(folder).params
    save_safetensors(folder, rounded)
    assert_same(load_bert(folder).params, expected)


def test_a_bfloat16_pickle_becomes_float32(folder):
    rounded = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in WEIGHTS.items()}
    save_safetensors(folder, rounded)
    expected = load_bert(folder).params
    (folder / "model.safetensors").unlink()
    save_pickle(folder, "bfloat16")
    assert_same(load_bert(folder).params, expected)


def test_old_names_and_extra_tensors_are_accepted(folder):
    expected = load_bert(folder).params
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in WEIGHTS.items()
    }
    extra = {
        "bert.embeddings.position_ids": np.arange(16)[None],
        "cls.predictions.bias": np.zeros(12, np.float32),
    }
    save_safetensors(folder, old | extra)
    assert_same(load_bert(folder).params, expected)


def test_labels_follow_the_logits_beyond_ten(folder):
    names = {str(number): f"class {number}" for number in reversed(range(12))}
    save_rest(folder, id2label=names)
    head = {"classifier.weight": np.ones((12, 8)), "classifier.bias": np.ones(12)}
    save_safetensors(folder, WEIGHTS | head)
    assert load_bert(folder).labels == tuple(f"class {number}" for number in range(12))


def test_labels_default_to_two_numbered_ones(folder):
    save_rest(folder, id2label=None)
    head = {"classifier.weight": WEIGHTS["classifier.weight"][:2], "classifier.bias": np.ones(2)}
    save_safetensors(folder, WEIGHTS | head)
    assert load_bert(folder).labels == ("LABEL_0", "LABEL_1")


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
    assert load_bert(folder).config.dropout == expected


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
    expected = load_bert(folder).params
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
        (lambda folder: save_rest(folder, model_type="roberta"), "'roberta' is not supported"),
        (lambda folder: save_rest(folder, hidden_size=4), "config.json asks for"),
        (lambda folder: save_safetensors(folder, PREDICTIONS), "lack the tensor"),
        (lambda folder: (folder / "vocab.txt").write_text("\n".join("abcdefghijklmn")), "pieces"),
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
    tokenizer = load_bert(folder).tokenizer
    encoded = tokenizer("A funny, funny film.", return_tensors="np")
    words = ["[CLS]", "a", "fun", "##ny", ",", "fun", "##ny", "film", ".", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"][0]) == words
    assert (tokenizer.mask_token_id, tokenizer.pad_token_id) == (4, 0)
    assert encoded.word_ids() == [None, 0, 1, 1, 2, 3, 3, 4, 5, None]


def test_the_tokenizer_is_the_one_auto_tokenizer_gives():
    folder = SHARED / "models/sst5-minilm"
    trees = SHARED / "data/sst/dev.txt"
    if not (folder.is_dir() and trees.is_file()):
        pytest.skip("needs ../shared/models/sst5-minilm and ../shared/data/sst")
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
    tokenizer = load_bert(folder).tokenizer
    assert tokenizer("a fun, fun film")["input_ids"] == [2, 5, 6, 10, 6, 8, 3]


# --- the hub ---------------------------------------------------------------------------------


def test_from_the_hub_only_the_best_format_is_downloaded(folder, tmp_path_factory, monkeypatch):
    copy = tmp_path_factory.mktemp("snapshot")
    asked = []

    def snapshot_download(name, allow_patterns, **_):
        asked.append(allow_patterns)
        for pattern in allow_patterns:
            for path in folder.glob(pattern):
                (copy / path.name).write_bytes(path.read_bytes())
        return str(copy)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    checkpoint = load_bert("someone/some-model")
    assert checkpoint.path == str(copy)
    assert len(asked) == 1 and not (copy / "pytorch_model.bin").exists()

    (copy / "model.safetensors").unlink()
    (folder / "model.safetensors").unlink()
    save_msgpack(folder)
    assert_same(load_bert("someone/some-model").params, checkpoint.params)
    assert not (copy / "pytorch_model.bin").exists()


def test_a_hub_id_that_cannot_be_had_is_one_line(monkeypatch):
    def snapshot_download(*_, **__):
        raise ConnectionError("no network\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert_refused("someone/some-model", "no folder someone/some-model", "hub", "network")


# --- what is refused -------------------------------------------------------------------------


def test_a_missing_folder_is_refused(tmp_path):
    assert_refused(tmp_path / "nothing", "there is no folder", "nothing")


def test_a_file_is_refused(folder):
    assert_refused(folder / "model.safetensors", "is a file")


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_a_missing_text_file_is_named(folder, name):
    (folder / name).unlink()
    assert_refused(folder, name, str(folder))


def test_missing_weights_name_what_is_accepted(folder):
    (folder / "model.safetensors").unlink()
    (folder / "tf_model.h5").touch()
    assert_refused(folder, "model.safetensors", "flax_model.msgpack", "pytorch_model.bin")


def test_a_missing_shard_is_named(folder):
    (folder / "model.safetensors").unlink()
    save_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert_refused(folder, "model-00002-of-00002.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
@pytest.mark.parametrize(
    ("save", "name"),
    [
        (save_safetensors, "model.safetensors"),
        (save_shards, "model.safetensors.index.json"),
        (save_shards, "model-00001-of-00002.safetensors"),
        (save_msgpack, "flax_model.msgpack"),
        (save_pickle, "pytorch_model.bin"),
    ],
)
def test_a_weights_file_cut_short_is_named(tmp_path, save, name, kept):
    save_rest(tmp_path)
    save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(tmp_path, name, "damaged")


@pytest.mark.parametrize("name", ["flax_model.msgpack", "pytorch_model.bin", "model.safetensors"])
def test_a_file_of_something_else_is_named(tmp_path, name):
    if name.endswith(".bin"):
        pytest.importorskip("torch", reason="only PyTorch reads .bin files")
    save_rest(tmp_path)
    (tmp_path / name).write_bytes(b"\x01")
    assert_refused(tmp_path, name, "damaged")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_text_file_is_refused(folder, name, text):
    (folder / name).write_text(text)
    assert_refused(folder, str(folder))


def test_a_pickle_without_pytorch_says_so(folder, monkeypatch):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert_refused(folder, "pytorch_model.bin", "install torch")


@pytest.mark.parametrize(
    "name", ["bert.pooler.dense.bias", "bert.encoder.layer.1.output.LayerNorm.weight"]
)
def test_a_missing_tensor_is_named(folder, name):
    save_safetensors(folder, {k: v for k, v in WEIGHTS.items() if k != name})
    assert_refused(folder, name)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(folder):
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    save_safetensors(folder, WEIGHTS | {name: np.zeros((8, 10), np.float32)})
    assert_refused(folder, name, "(8, 10)", "(10, 8)")


def test_a_quantised_tensor_is_named(folder):
    name = "bert.encoder.layer.0.output.dense.weight"
    save_safetensors(folder, WEIGHTS | {name: np.zeros((8, 10), np.int8)})
    assert_refused(folder, name, "int8")


def test_a_checkpoint_without_a_head_asks_for_fine_tuning(folder):
    save_safetensors(folder, {k: v for k, v in WEIGHTS.items() if "classifier" not in k})
    assert_refused(folder, "no classification head", "fine-tune")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "roberta"}, ["model_type 'roberta'", "only bert"]),
        ({"model_type": None}, ["model_type None", "only bert"]),
        ({"position_embedding_type": "relative_key"}, ["relative_key", "absolute"]),
        ({"is_decoder": True}, ["is_decoder"]),
        ({"hidden_act": "mish"}, ["mish", "gelu"]),
        ({"hidden_size": None}, ["hidden_size", "None"]),
        ({"hidden_size": "8"}, ["hidden_size", "'8'"]),
        ({"num_attention_heads": 3}, ["8", "3 heads"]),
        ({"hidden_dropout_prob": "0.1"}, ["hidden_dropout_prob", "'0.1'"]),
        ({"classifier_dropout": 1.0}, ["dropout", "1.0"]),
        ({"id2label": {"0": "score"}}, ["regression"]),
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
    assert_refused(folder, "13 pieces", "only 12")
