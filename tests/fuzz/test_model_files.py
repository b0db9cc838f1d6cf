"""Damaged models: config.json of every kind, tokenizers, weights in every format."""

import json
import shutil

import flax.serialization
import jax
import numpy as np
import pytest
import safetensors.numpy
from bert_folder import WEIGHTS, save_msgpack, save_rest, save_shards
from hypothesis import given
from hypothesis import strategies as st
from mutations import damaged, json_texts, line_texts, tensor_files
from trying import some, tried

from diffmask_jax.data.encoding import batch_encode
from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface.description import output_names
from diffmask_jax.models.huggingface.tokenizers import read_tokenizer_of
from diffmask_jax.models.huggingface.weights import read_weights
from diffmask_jax.models.loading import ARCHITECTURES, load_classifier, load_encoder
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.tensors import checked

TEXTS = ["a funny film.", "Été, ü 中 👩‍💻"]

# What config.json of an architecture may say beside its sizes.
SAYS = {
    "id2label": {"0": "bad", "1": "good"},
    "num_labels": 2,
    "problem_type": "single_label_classification",
    "architectures": None,
    "tokenizer_class": None,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "position_embedding_type": "absolute",
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 4,
    "share_att_key": True,
    "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}},
    "layer_types": ["full_attention", "sliding_attention"],
    "norm_bias": False,
    "n_inner": None,
}
SIZES = {
    "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 10, "max_position_embeddings": 16, "type_vocab_size": 2, "dim": 8,
    "n_heads": 2, "n_layers": 2, "hidden_dim": 10, "embedding_size": 8, "inner_group_num": 1,
    "num_hidden_groups": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that is in order, each file of which is spoilt in turn."""
    folder = tmp_path_factory.mktemp("model")
    save_rest(folder)
    safetensors.numpy.save_file(WEIGHTS, folder / "model.safetensors")
    assert load_classifier(folder)
    return folder


@pytest.fixture
def copy(folder, tmp_path_factory):
    """(name, content) -> a copy of the model with another file."""
    place = tmp_path_factory.mktemp("copy") / "model"

    def make(name: str, content: bytes, without: tuple[str, ...] = ()):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        for other in without:
            (place / other).unlink()
        (place / name).write_bytes(content)
        return place

    return make


def check_model(model) -> None:
    """What is wrong of no model that was accepted."""
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))
    assert len(set(model.labels)) == len(model.labels) == model.config.classes
    assert max(model.tokenizer.backend_tokenizer.get_vocab().values()) < model.config.vocabulary


@given(data=st.data())
@some
def test_config(copy, data):
    description = json.loads((copy("x", b"") / "config.json").read_text())
    content = data.draw(json_texts(description | {"architectures": None, "num_labels": 3}))
    with tried("config.json"):
        check_model(load_classifier(copy("config.json", content)))
    with tried("config.json, new head"):
        check_model(load_encoder(copy("config.json", content), ["no", "yes"]))


@pytest.mark.parametrize("kind", ARCHITECTURES)
@given(data=st.data())
@some
def test_config_of(tmp_path_factory, kind, data):
    """The sizes alone, which are read before anything is made of them."""
    content = data.draw(json_texts(SIZES | SAYS))
    with tried(f"config.json, {kind}"):
        description = json_files.parse(content.decode("utf-8", "replace"), "config.json")
        names = output_names(description)
        folder = tmp_path_factory.getbasetemp()
        config = ARCHITECTURES[kind].read_config(folder, description, len(names))
        assert 0 < config.positions <= 2**20 and 0 < config.vocabulary <= 2**22


TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizer", "do_lower_case": True, "mask_token": "[MASK]",
    "cls_token": {"__type": "AddedToken", "content": "[CLS]", "special": True},
    "added_tokens_decoder": {"2": {"content": "[CLS]", "special": True}}, "model_max_length": 16,
    "strip_accents": None, "unk_token": "[UNK]", "extra_special_tokens": [],
}  # fmt: skip


def try_tokenizer(kind: str, folder) -> None:
    with tried(kind):
        tokenizer = read_tokenizer_of(folder, 12, "BertTokenizer")
        encoded = [*batch_encode(tokenizer, TEXTS), *batch_encode(tokenizer, TEXTS, 9)]
        assert all(text.ids.min() >= 0 and text.ids.max() < 12 for text in encoded)
        whole = tokenizer.by_transformers()
        for token in (whole.cls_token, whole.sep_token, whole.mask_token):
            assert token is None or token in whole.get_vocab()


@given(data=st.data())
@some
def test_tokenizer_files(folder, copy, data, capfd):
    if not (folder.parent / "tokenizer.json").exists():
        tokenizer = read_tokenizer_of(folder, 12, "BertTokenizer")
        tokenizer.backend_tokenizer.save(str(folder.parent / "tokenizer.json"))
    whole = json.loads((folder.parent / "tokenizer.json").read_text())
    vocabulary = (folder / "vocab.txt").read_text()
    try_tokenizer("vocab.txt", copy("vocab.txt", data.draw(line_texts(vocabulary))))
    content = data.draw(json_texts(whole))
    try_tokenizer("tokenizer.json", copy("tokenizer.json", content))
    place = copy("tokenizer.json", content)
    (place / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    try_tokenizer("tokenizer.json, generic", place)
    for name, value in {
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "special_tokens_map.json": {"mask_token": "[MASK]", "cls_token": {"content": "[CLS]"}},
        "added_tokens.json": {"[CLS]": 2, "more": 11},
    }.items():
        try_tokenizer(name, copy(name, data.draw(json_texts(value))))
    assert "\x1b" not in capfd.readouterr().err


def try_weights(kind: str, place) -> None:
    with tried(kind):
        weights = read_weights(place)
        for name, tensor in WEIGHTS.items():
            assert np.isfinite(checked(weights, name, tensor.shape)).all()


@given(data=st.data())
@some
def test_weights(folder, copy, data):
    whole = (folder / "model.safetensors").read_bytes()
    spoilt = data.draw(tensor_files(whole))
    try_weights("model.safetensors", copy("model.safetensors", spoilt))

    place = copy("x", b"", without=("model.safetensors",))
    save_msgpack(place)
    content = (place / "flax_model.msgpack").read_bytes()
    tree = flax.serialization.msgpack_restore(content)
    tree[data.draw(st.sampled_from(["bert", "classifier", "x"]))] = data.draw(
        st.sampled_from([None, 1, "a", {}, {"a": 1}, {"kernel": b"x"}, {"bias": np.int8(1)}])
    )
    content = data.draw(st.one_of(damaged(content), st.just(flax.serialization.to_bytes(tree))))
    (place / "flax_model.msgpack").write_bytes(content)
    try_weights("flax_model.msgpack", place)

    place = copy("x", b"", without=("model.safetensors",))
    save_shards(place)
    index = place / "model.safetensors.index.json"
    described = json.loads(index.read_text()) | {"metadata": {"total_size": 1}}
    index.write_bytes(data.draw(json_texts(described)))
    try_weights("model.safetensors.index.json", place)


class Foreign:
    """What a pickle may ask for beside tensors: a call of anything."""

    def __reduce__(self):
        return (print, ("foreign code has run",))


@given(data=st.data())
@some
def test_pickled_weights(copy, data, capfd):
    torch = pytest.importorskip("torch", reason="PyTorch writes and reads .bin files")
    names = list(WEIGHTS)
    whole = {name: torch.tensor(tensor) for name, tensor in WEIGHTS.items()}
    name, other = data.draw(st.sampled_from(names)), torch.ones(3, 8)
    held = data.draw(
        st.sampled_from(
            [
                *(whole, whole | {name: torch.nn.Parameter(whole[name])}, whole | {name: None}),
                *(
                    {},
                    [],
                    None,
                    3,
                    "a",
                    [whole],
                    {"model": whole},
                    {1: other},
                    whole | {"a\nb": other},
                ),
                *(whole | {name: other.to(kind)} for kind in (torch.int8, torch.complex64)),
                *(whole | {name: one} for one in (other.to_sparse(), other * torch.nan, other[:0])),
                *({"a": Foreign()}, Foreign()),
            ]
        )
    )
    for kind in ("pytorch_model.bin", "shards of .bin"):
        place = copy("x", b"", without=("model.safetensors",))
        file = place / "pytorch_model.bin"
        if kind != file.name:
            file = place / "pytorch_model-00001-of-00002.bin"
            torch.save({n: whole[n] for n in names[7:]}, place / "pytorch_model-00002-of-00002.bin")
            places = dict.fromkeys(names[:7], file.name)
            places |= dict.fromkeys(names[7:], "pytorch_model-00002-of-00002.bin")
            described = json.dumps({"weight_map": places, "metadata": {}}).encode()
            if data.draw(st.booleans()):
                described = data.draw(json_texts(json.loads(described)))
            (place / "pytorch_model.bin.index.json").write_bytes(described)
        torch.save(held, file, _use_new_zipfile_serialization=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            file.write_bytes(data.draw(damaged(file.read_bytes())))
        try_weights(kind, place)
    assert "foreign" not in capfd.readouterr().out


def test_every_kind_is_accepted_as_it_is(folder):
    """So that what the table calls refused was refused for what was done to it."""
    for kind in ARCHITECTURES.values():
        try:
            kind.read_config(folder, SIZES | SAYS, 2)
        except UserError as error:
            raise AssertionError(kind.model_type) from error
