"""A GRU's folder: it comes back bit for bit, PyTorch loads it, what is broken is one line."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax.data import batches, wordpieces
from diffmask_jax.errors import UserError
from diffmask_jax.models.gru_files import fresh_gru, load_gru, save_gru
from diffmask_jax.models.hub import Checkpoint, load_bert

FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}


@pytest.fixture(scope="module")
def checkpoint(tiny_gru) -> Checkpoint:
    return load_gru(tiny_gru)


@pytest.fixture
def copy(tiny_gru, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_gru, tmp_path / "copy"))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same(tree, other) -> None:
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


# --- saving and loading ----------------------------------------------------------------------


def test_what_is_saved_comes_back_bit_for_bit(checkpoint, tiny_bert, sentences, tmp_path):
    save_gru(tmp_path / "model", checkpoint)
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    back = load_gru(tmp_path / "model")
    assert_same(back.params, checkpoint.params)
    assert (back.config, back.labels) == (checkpoint.config, checkpoint.labels)
    assert back.path == str(tmp_path / "model")
    expected = load_bert(tiny_bert).tokenizer(list(sentences))["input_ids"]
    assert back.tokenizer(list(sentences))["input_ids"] == expected


def test_other_weights_of_the_same_model_replace_the_old(checkpoint, copy):
    doubled = checkpoint._replace(params=jax.tree.map(lambda x: 2 * x, checkpoint.params))
    before = contents(copy)
    save_gru(copy, doubled)
    after = contents(copy)
    assert {name for name in FILES if before[name] != after[name]} == {"model.safetensors"}
    assert_same(load_gru(copy).params, doubled.params)


def test_another_model_is_left_as_it_is(checkpoint, tiny_bert, tmp_path):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    before = contents(folder)
    with pytest.raises(UserError, match=r"holds something else .*choose another folder"):
        save_gru(folder, checkpoint)
    assert contents(folder) == before


def test_pytorch_s_modules_load_it_and_agree(checkpoint, tiny_gru, sentences):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    width, classes = checkpoint.config.width, checkpoint.config.classes
    network = torch.nn.ModuleDict(
        {
            "word": torch.nn.Embedding(checkpoint.config.vocabulary, width),
            "gru": torch.nn.GRU(width, width, batch_first=True),
            "head": torch.nn.Linear(width, classes),
        }
    )
    network.load_state_dict({name: torch.tensor(x) for name, x in tensors(tiny_gru).items()})
    encoded = wordpieces.batch_encode(checkpoint.tokenizer, sentences)
    inputs = batches.pad(encoded, 20)
    with torch.no_grad():
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            network["word"](torch.tensor(inputs.tokens)),
            torch.tensor(inputs.valid.sum(axis=1)),
            batch_first=True,
            enforce_sorted=False,
        )
        expected = network["head"](network["gru"](packed)[1][0]).numpy()
    logits, _ = jax.jit(checkpoint.model.states)(checkpoint.params, inputs)
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(logits, expected, atol=1e-5)


# --- a fresh one -----------------------------------------------------------------------------


def bare(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A BertModel's tensors: no head, and no name in front."""
    inner = {name: tensor for name, tensor in weights.items() if name.startswith("bert.")}
    return {name.removeprefix("bert."): tensor for name, tensor in inner.items()}


def words_only(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in weights.items() if "word_embeddings" in name}


@pytest.mark.parametrize("change", [dict, bare, words_only])
def test_a_fresh_one_has_the_words_of_any_bert(tiny_bert, tmp_path, change):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    safetensors.numpy.save_file(change(tensors(tiny_bert)), folder / "model.safetensors")
    fresh, bert = fresh_gru(folder, ("no", "maybe", "yes", "surely")), load_bert(tiny_bert)
    assert_same(fresh.params["word"], bert.params["word"])
    assert fresh.labels == ("no", "maybe", "yes", "surely") and fresh.config.classes == 4
    for size in ("vocabulary", "positions", "width"):
        assert getattr(fresh.config, size) == getattr(bert.config, size)
    assert fresh.config.dropout == (0.3, 0.3) and fresh.path == str(folder)


def test_what_is_new_depends_on_the_seed_alone(tiny_bert):
    first, again, other = (fresh_gru(tiny_bert, "ab", seed).params for seed in (0, 0, 1))
    assert_same(first, again)
    assert_same(first["word"], other["word"])
    for part in ("gru", "head"):
        for new, old in zip(*map(jax.tree.leaves, (other[part], first[part])), strict=True):
            assert not np.array_equal(new, old)


def test_embeddings_that_cannot_be_had_are_refused(tiny_bert, tiny_gru, tmp_path):
    def assert_refused(message: str, place: Path, labels=("no", "yes")) -> None:
        with pytest.raises(UserError, match=message) as refusal:
            fresh_gru(place, labels)
        assert "\n" not in str(refusal.value)

    assert_refused("no folder", tmp_path / "nothing")
    assert_refused("'diffmask_gru' is not supported, only bert", tiny_gru)
    assert_refused("two or more different names", tiny_bert, ("same", "same"))
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    safetensors.numpy.save_file({"classifier.bias": np.ones(3)}, folder / "model.safetensors")
    assert_refused("lack the tensor bert.embeddings.word_embeddings.weight", folder)


# --- what is broken --------------------------------------------------------------------------


def describe(folder: Path, **changes) -> None:
    """Change config.json; None takes a key away."""
    file = folder / "config.json"
    found = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: x for key, x in found.items() if x is not None}))


def replace(folder: Path, **changes) -> None:
    """Change tensors; None takes one away."""
    held = tensors(folder) | {name.replace("__", "."): x for name, x in changes.items()}
    held = {name: x for name, x in held.items() if x is not None}
    safetensors.numpy.save_file(held, folder / "model.safetensors")


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: replace(folder, gru__bias_hh_l0=None), "lack the tensor gru.bias_hh_l0"),
        (lambda folder: replace(folder, head__weight=None), "lack the tensor head.weight"),
        (
            lambda folder: replace(folder, gru__weight_ih_l0=np.ones((16, 48), np.float32)),
            r"gru.weight_ih_l0 has shape \(16, 48\), config.json asks for \(48, 16\)",
        ),
        (lambda folder: replace(folder, head__bias=np.ones(3, np.int8)), "head.bias holds int8"),
        (cut, "damaged or cut short"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
        (lambda folder: describe(folder, id2label=None), "id2label in config.json must name"),
        (lambda folder: describe(folder, id2label=7), "id2label in config.json must name"),
        (lambda folder: describe(folder, id2label={"0": "good"}), "one output"),
        (lambda folder: describe(folder, id2label={"0": "a", "1": "b"}), "head.bias has shape"),
        (lambda folder: describe(folder, hidden_size=None), "hidden_size must be a whole number"),
        (lambda folder: describe(folder, input_dropout="x"), "input_dropout must be a number"),
        (lambda folder: describe(folder, output_dropout=1.5), "dropout rates"),
        (lambda folder: describe(folder, model_type="bert"), "only diffmask_gru"),
        (lambda folder: (folder / "config.json").write_text("{"), "not readable JSON"),
        (
            lambda folder: (folder / "vocab.txt").unlink() or (folder / "tokenizer.json").unlink(),
            "no tokenizer",
        ),
    ],
)
def test_a_broken_folder_is_refused(copy, spoil, message):
    spoil(copy)
    with pytest.raises(UserError, match=message) as refusal:
        load_gru(copy)
    assert "\n" not in str(refusal.value)
