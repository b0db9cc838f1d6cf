"""A small random BERT classifier, in every format that a checkpoint may have."""

import json
from pathlib import Path

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax.errors import UserError
from diffmask_jax.models.loading import load_classifier

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


def assert_same(params, others) -> None:
    assert jax.tree.structure(params) == jax.tree.structure(others)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, params, others)


def assert_refused(place, *words: str) -> None:
    """One line that says every one of the words."""
    with pytest.raises(UserError) as refusal:
        load_classifier(place)
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message
