"""A model's folder is the one that is there, or the hub's copy in its best format."""

import fnmatch

import huggingface_hub
import pytest
from bert_folder import assert_refused, assert_same, save_msgpack, save_rest, save_safetensors

from diffmask_jax.models.loading import load_classifier


@pytest.fixture
def folder(tmp_path):
    """A checkpoint that is in order."""
    save_rest(tmp_path)
    save_safetensors(tmp_path)
    return tmp_path


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
    checkpoint = load_classifier("someone/some-model")
    assert checkpoint.path == str(copy)
    assert len(asked) == 1 and not (copy / "pytorch_model.bin").exists()

    (copy / "model.safetensors").unlink()
    (folder / "model.safetensors").unlink()
    save_msgpack(folder)
    assert_same(load_classifier("someone/some-model").params, checkpoint.params)
    assert not (copy / "pytorch_model.bin").exists()


def test_all_files_that_a_model_may_have_are_asked_for(monkeypatch, tmp_path):
    """Sharded weights of either format, and every file that a tokenizer may be read from."""
    asked = set()

    def snapshot_download(name, allow_patterns, **_):
        asked.update(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert_refused("someone/some-model", "no config.json")
    for name in (
        *("config.json", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"),
        *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spm.model"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"),
        *("model.safetensors.index.json", "model-00001-of-00002.safetensors"),
    ):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in asked), name


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\0b", "~nobody/model", "a/b/c", "ａ/ｂ", "\udcff", "", "../.."]
)
def test_a_name_that_is_none(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in ("", "../.."):  # these are folders
        assert_refused(name or ".", "no config.json")
    else:
        assert_refused(name, "there is no folder")


def test_a_hub_id_that_cannot_be_had_is_one_line(monkeypatch):
    def snapshot_download(*_, **__):
        raise ConnectionError("no network\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert_refused("someone/some-model", "no folder someone/some-model", "hub", "network")


def test_no_name_is_no_folder_though_a_model_lies_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("", " "):
        assert_refused(name, "model's name is empty")


def test_a_missing_folder_is_refused(tmp_path):
    assert_refused(tmp_path / "nothing", "there is no folder", "nothing")


def test_a_file_is_refused(folder):
    assert_refused(folder / "model.safetensors", "is a file")
