"""Weights in every format give the same parameters; every broken file gives one clear line."""

import sys

import ml_dtypes
import numpy as np
import pytest
from bert_folder import (
    WEIGHTS,
    assert_refused,
    assert_same,
    save_msgpack,
    save_pickle,
    save_rest,
    save_safetensors,
    save_shards,
)

from diffmask_jax.models.loading import load_classifier


@pytest.fixture
def folder(tmp_path):
    """A checkpoint that is in order."""
    save_rest(tmp_path)
    save_safetensors(tmp_path)
    return tmp_path


# --- what loads ------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [save_shards, save_msgpack, save_pickle])
def test_every_format_gives_the_same_parameters(folder, tmp_path_factory, save):
    other = tmp_path_factory.mktemp("other")
    save_rest(other)
    save(other)
    assert_same(load_classifier(other).params, load_classifier(folder).params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(folder, dtype):
    rounded = {name: tensor.astype(dtype) for name, tensor in WEIGHTS.items()}
    save_safetensors(folder, {name: tensor.astype(np.float32) for name, tensor in rounded.items()})
    expected = load_classifier(folder).params
    save_safetensors(folder, rounded)
    assert_same(load_classifier(folder).params, expected)


def test_a_bfloat16_pickle_becomes_float32(folder):
    rounded = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in WEIGHTS.items()}
    save_safetensors(folder, rounded)
    expected = load_classifier(folder).params
    (folder / "model.safetensors").unlink()
    save_pickle(folder, "bfloat16")
    assert_same(load_classifier(folder).params, expected)


def test_old_names_and_extra_tensors_are_accepted(folder):
    expected = load_classifier(folder).params
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
    assert_same(load_classifier(folder).params, expected)


# --- what is refused -------------------------------------------------------------------------


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
