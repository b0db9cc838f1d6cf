"""Weights in every format give the same parameters; every broken file gives one clear line."""

import json
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
from safetensors.numpy import save_file

from diffmask_jax.models.loading import load_classifier


@pytest.fixture
def folder(tmp_path):
    """A checkpoint that is in order."""
    save_rest(tmp_path)
    save_safetensors(tmp_path)
    return tmp_path


# --- what loads ------------------------------------------------------------------------------


def save_pickled_shards(folder):
    """As large models of PyTorch alone are published."""
    torch = pytest.importorskip("torch", reason="PyTorch writes and reads .bin files")
    names, places = list(WEIGHTS), {}
    for number, held in enumerate((names[:7], names[7:]), start=1):
        shard = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: torch.tensor(WEIGHTS[name]) for name in held}, folder / shard)
        places |= dict.fromkeys(held, shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize("save", [save_shards, save_msgpack, save_pickle, save_pickled_shards])
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


def test_a_tensor_is_read_from_the_file_that_the_index_names(folder):
    """Whatever another shard holds of the same name, as one of an earlier save may."""
    expected = load_classifier(folder).params
    (folder / "model.safetensors").unlink()
    save_shards(folder)
    names = list(WEIGHTS)
    for number, own in enumerate((names[:7], names[7:]), start=1):
        held = {name: tensor if name in own else 0 * tensor for name, tensor in WEIGHTS.items()}
        save_file(held, folder / f"model-0000{number}-of-00002.safetensors")
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
    assert_refused(tmp_path, name, "not JSON" if name.endswith(".json") else "damaged")


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


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2"])
def test_a_tensor_of_a_type_that_numpy_lacks_is_named(folder, kind):
    """And the file is not called damaged."""
    header = {"a.scale": {"dtype": kind, "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + b"\0\0"
    (folder / "model.safetensors").write_bytes(whole)
    assert_refused(folder, f"tensor a.scale has type {kind}: quantised")


def test_a_quantised_tensor_is_named(folder):
    name = "bert.encoder.layer.0.output.dense.weight"
    save_safetensors(folder, WEIGHTS | {name: np.zeros((8, 10), np.int8)})
    assert_refused(folder, name, "int8")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("save", [save_safetensors, save_pickle])
def test_a_tensor_that_is_not_finite_is_named(tmp_path, monkeypatch, value, save):
    """Even where it is what float64 holds and float32 does not."""
    name = "bert.encoder.layer.1.output.dense.weight"
    tensor = WEIGHTS[name].astype(np.float64)
    tensor[3, 2] = value
    monkeypatch.setitem(WEIGHTS, name, tensor)
    save_rest(tmp_path)
    save(tmp_path)
    assert_refused(tmp_path, name, "not finite", "[3, 2]")


# --- what an index may name ------------------------------------------------------------------


def renamed(folder, name: str) -> None:
    """A sharded checkpoint whose index names one of its files so."""
    save_rest(folder)
    save_shards(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002-of-00002.safetensors", name))


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "sub/model.safetensors",
        "/etc/model.safetensors",
        "..",
        "",
        "pytorch_model.bin",
        "config.json",
        "~/model.safetensors",
    ],
)
def test_an_index_names_files_of_its_format_in_its_folder(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    renamed(folder, name)
    save_safetensors(tmp_path)
    assert_refused(folder, "model.safetensors.index.json names", name, "of its own folder")


@pytest.mark.parametrize(
    "name", ["a\\u0000.safetensors", f"{'x' * 300}.safetensors", "a.safetensors"]
)
def test_an_index_names_a_file_that_there_cannot_be(tmp_path, name):
    renamed(tmp_path, name)
    assert_refused(tmp_path, "names", "which is missing")


def test_a_shard_is_no_link_out_of_its_folder_but_into_the_hub_s_blobs(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    save_rest(snapshot)
    save_shards(snapshot)
    shard = snapshot / "model-00002-of-00002.safetensors"
    for place, is_home in (("elsewhere", False), ("models--a--b/blobs", True)):
        (tmp_path / place).mkdir()
        shard = shard.replace(tmp_path / place / "abcdef")
        (snapshot / "model-00002-of-00002.safetensors").symlink_to(shard)
        if is_home:
            assert load_classifier(snapshot)
        else:
            assert_refused(snapshot, "a link out of its folder")
            (snapshot / "model-00002-of-00002.safetensors").unlink()


def test_more_blocks_than_there_are_tensors(folder):
    save_rest(folder, num_hidden_layers=500)
    assert_refused(folder, "asks for 500 blocks", "tensors")
    save_rest(folder, num_hidden_layers=10**9)
    assert_refused(folder, "num_hidden_layers must be at most 512, not 1000000000")
