"""The GRU classifier: one state that gives its logits, and a folder that PyTorch loads."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data import batches, encoding
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.gru_classifier import (
    GruConfig,
    GruDropout,
    fresh_gru,
    gru_classifier,
    init,
    training_logits,
)
from diffmask_jax.models.heads import MULTI_LABEL_HEAD, REGRESSION, SINGLE_LABEL
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_classifier, load_encoder

CONFIG = GruConfig(vocabulary=11, positions=16, width=6, classes=3)
MODEL = gru_classifier(CONFIG, CATEGORICAL)
WORD = {"embedding": jax.random.normal(jax.random.key(1), (11, 6))}
PARAMS = jax.jit(lambda key: init(key, CONFIG))(jax.random.key(0)) | {"word": WORD}
ROWS, LENGTH = 4, 7
TOKENS = np.random.default_rng(0).integers(0, 11, (ROWS, LENGTH)).astype(np.int32)
states = jax.jit(MODEL.states)
logits_from = jax.jit(MODEL.logits_from)


def inputs(lengths, tokens=TOKENS, segment: int = 0) -> TextInputs:
    valid = np.arange(LENGTH) < np.asarray(lengths)[:, None]
    return TextInputs(tokens, np.full_like(tokens, segment), valid)


def with_dropout(*rates: float) -> GruConfig:
    return dataclasses.replace(CONFIG, dropout=GruDropout(*map(float, rates)))


INPUTS = inputs((7, 5, 3, 1))
FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}


@pytest.fixture(scope="module")
def classifier(tiny_gru) -> Classifier:
    return load_classifier(tiny_gru)


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


# --- the model -------------------------------------------------------------------------------


def test_the_only_state_is_the_embedded_words_and_gives_the_logits():
    logits, (words,) = states(PARAMS, INPUTS)
    assert MODEL.layers == ("W",) and logits.shape == (ROWS, 3) and logits.dtype == np.float32
    np.testing.assert_array_equal(words, WORD["embedding"][TOKENS])
    np.testing.assert_array_equal(logits_from(PARAMS, INPUTS, words, 0), logits)
    np.testing.assert_array_equal(logits_from(PARAMS, INPUTS, words, jnp.int32(0)), logits)
    assert np.ptp(logits, axis=0).min() > 1e-3


def test_another_state_has_other_logits():
    logits, (words,) = states(PARAMS, INPUTS)
    others = logits_from(PARAMS, INPUTS, words + 1, 0)
    assert np.abs(others - logits).max(axis=1).min() > 1e-3


@given(st.lists(st.integers(1, LENGTH), min_size=ROWS, max_size=ROWS), st.integers(0, 10))
@settings(max_examples=20)
def test_padding_and_segments_are_inert(lengths, token):
    clean = inputs(lengths)
    other = inputs(lengths, np.where(clean.valid, TOKENS, np.int32(token)), segment=1)
    expected, (words,) = states(PARAMS, clean)
    np.testing.assert_array_equal(states(PARAMS, other)[0], expected)
    noisy = jnp.where(clean.valid[..., None], words, 100.0)
    np.testing.assert_array_equal(logits_from(PARAMS, clean, noisy, 0), expected)


def test_fresh_parameters_start_as_pytorch_s():
    for array in jax.tree.leaves({"gru": PARAMS["gru"], "head": PARAMS["head"]}):
        assert 0.3 * 6**-0.5 < np.abs(array).max() <= 6**-0.5
    again, other = (init(jax.random.key(seed), CONFIG) for seed in (0, 1))
    assert not np.any(again["word"]["embedding"]) and again["word"]["embedding"].shape == (11, 6)
    jax.tree.map(np.testing.assert_array_equal, again | {"word": WORD}, PARAMS)
    assert not np.array_equal(other["gru"]["input_kernel"], PARAMS["gru"]["input_kernel"])
    assert not np.array_equal(other["head"]["kernel"], PARAMS["head"]["kernel"])


# --- dropout ---------------------------------------------------------------------------------


def test_without_dropout_training_gives_the_classifier_s_logits():
    trained = jax.jit(training_logits(with_dropout(0, 0)))(PARAMS, INPUTS, jax.random.key(0))
    np.testing.assert_allclose(trained, states(PARAMS, INPUTS)[0], atol=1e-6)


def test_the_classifier_drops_nothing_whatever_its_training_drops():
    found = jax.jit(gru_classifier(with_dropout(0.9, 0.9), CATEGORICAL).states)(PARAMS, INPUTS)
    jax.tree.map(np.testing.assert_array_equal, found, states(PARAMS, INPUTS))


@pytest.mark.parametrize("rates", [(0.4, 0), (0, 0.4)])
def test_the_key_alone_decides_what_is_dropped(rates):
    logits = jax.jit(training_logits(with_dropout(*rates)))
    first, again, other = (logits(PARAMS, INPUTS, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_the_last_state_is_dropped_in_the_mean_not_at_all():
    """The head is linear, so the mean over draws is the logits of evaluation."""
    draws = 4000
    one = jax.jit(jax.vmap(training_logits(with_dropout(0, 0.4)), in_axes=(None, None, 0)))
    found = np.asarray(one(PARAMS, INPUTS, jax.random.split(jax.random.key(2), draws)))
    error = found.std(axis=0) / np.sqrt(draws)
    assert (error > 1e-5).all()
    assert (np.abs(found.mean(axis=0) - states(PARAMS, INPUTS)[0]) < 4 * error).all()


def test_inputs_are_dropped_by_value_at_the_given_rate():
    """A value of a word that stands once in the texts gets no gradient where it was dropped."""
    rate, draws = 0.3, 300
    gradient = jax.grad(
        lambda state, key: training_logits(with_dropout(rate, 0))(
            {**PARAMS, "word": {"embedding": state}}, INPUTS, key
        ).sum()
    )
    keys = jax.random.split(jax.random.key(4), draws)
    one_use = np.flatnonzero(np.bincount(TOKENS[INPUTS.valid], minlength=11) == 1)
    found = jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(WORD["embedding"], keys)
    dropped = np.mean(np.asarray(found)[:, one_use] == 0)
    assert one_use.size and abs(dropped - rate) < 4 * np.sqrt(0.21 / (draws * 6 * one_use.size))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(UserError, match="dropout rates"):
        with_dropout(0.1, rate)


# --- saving and loading ----------------------------------------------------------------------


def test_what_is_saved_comes_back_bit_for_bit(classifier, tiny_bert, sentences, tmp_path):
    save(tmp_path / "model", classifier)
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    back = load_classifier(tmp_path / "model")
    assert_same(back.params, classifier.params)
    assert (back.config, back.labels) == (classifier.config, classifier.labels)
    assert back.path == str(tmp_path / "model")
    before, after = load_classifier(tiny_bert).encode(sentences), back.encode(sentences)
    assert [text.ids.tolist() for text in after] == [text.ids.tolist() for text in before]


def test_other_weights_of_the_same_model_replace_the_old(classifier, copy):
    doubled = classifier._replace(params=jax.tree.map(lambda x: 2 * x, classifier.params))
    before = contents(copy)
    save(copy, doubled)
    after = contents(copy)
    assert {name for name in FILES if before[name] != after[name]} == {"model.safetensors"}
    assert_same(load_classifier(copy).params, doubled.params)


def test_another_model_is_left_as_it_is(classifier, tiny_bert, tmp_path):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    before = contents(folder)
    with pytest.raises(UserError, match=r"contains something else .*choose another folder"):
        save(folder, classifier)
    assert contents(folder) == before


def test_pytorch_s_modules_load_it_and_agree(classifier, tiny_gru, sentences):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    width, classes = classifier.config.width, classifier.config.classes
    network = torch.nn.ModuleDict(
        {
            "word": torch.nn.Embedding(classifier.config.vocabulary, width),
            "gru": torch.nn.GRU(width, width, batch_first=True),
            "head": torch.nn.Linear(width, classes),
        }
    )
    network.load_state_dict({name: torch.tensor(x) for name, x in tensors(tiny_gru).items()})
    encoded = encoding.batch_encode(classifier.tokenizer, sentences)
    inputs = batches.pad(encoded, 20)
    with torch.no_grad():
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            network["word"](torch.tensor(inputs.tokens)),
            torch.tensor(inputs.valid.sum(axis=1)),
            batch_first=True,
            enforce_sorted=False,
        )
        expected = network["head"](network["gru"](packed)[1][0]).numpy()
    logits, _ = jax.jit(classifier.network.states)(classifier.params, inputs)
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(logits, expected, atol=1e-5)


# --- a fresh one -----------------------------------------------------------------------------


def bare(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A BertModel's tensors: no head, and no name in front."""
    inner = {name: tensor for name, tensor in weights.items() if name.startswith("bert.")}
    return {name.removeprefix("bert."): tensor for name, tensor in inner.items()}


@pytest.mark.parametrize("change", [dict, bare])
def test_a_fresh_one_has_the_words_of_any_bert(tiny_bert, tmp_path, change):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    safetensors.numpy.save_file(change(tensors(tiny_bert)), folder / "model.safetensors")
    labels = ("no", "maybe", "yes", "surely")
    fresh, bert = fresh_gru(load_encoder(folder, labels), labels), load_classifier(tiny_bert)
    assert_same(fresh.params["word"], bert.params["word"])
    assert fresh.labels == labels and fresh.config.classes == 4
    for size in ("vocabulary", "positions", "width"):
        assert getattr(fresh.config, size) == getattr(bert.config, size)
    assert fresh.config.dropout == (0.3, 0.3) and fresh.path == str(folder)


def test_what_is_new_depends_on_the_seed_alone(tiny_bert):
    encoder = load_encoder(tiny_bert, "ab")
    first, again, other = (fresh_gru(encoder, "ab", seed).params for seed in (0, 0, 1))
    assert_same(first, again)
    assert_same(first["word"], other["word"])
    for part in ("gru", "head"):
        for new, old in zip(*map(jax.tree.leaves, (other[part], first[part])), strict=True):
            assert not np.array_equal(new, old)


def test_its_head_means_what_its_encoder_s_does(tiny_bert):
    for head in (REGRESSION, MULTI_LABEL_HEAD, SINGLE_LABEL):
        names = [str(number) for number in range(head.fewest)]
        fresh = fresh_gru(load_encoder(tiny_bert, names, head=head), names)
        assert fresh.head is head and fresh.config.classes == len(names)
        logits, _ = fresh.network.states(fresh.params, INPUTS)
        assert fresh.network.family.outputs(logits).shape == (ROWS, len(names))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_it_computes_in_float32_alone(tiny_gru, dtype):
    with pytest.raises(UserError, match=r"in float32 .* without precision and remat=True"):
        load_classifier(tiny_gru, dtype, remat=dtype == jnp.float32)


def test_embeddings_that_cannot_be_had_are_refused(tiny_bert, tmp_path):
    def assert_refused(message: str, place: Path, labels=("no", "yes")) -> None:
        with pytest.raises(UserError, match=message) as refusal:
            fresh_gru(load_encoder(place, ("no", "yes")), labels)
        assert "\n" not in str(refusal.value)

    assert_refused("no folder", tmp_path / "nothing")
    assert_refused("two or more different names", tiny_bert, ("same", "same"))
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    safetensors.numpy.save_file({"classifier.bias": np.ones(3)}, folder / "model.safetensors")
    assert_refused("lack the tensor bert", folder)


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
            r"gru.weight_ih_l0 has shape \(16, 48\), but config.json asks for \(48, 16\)",
        ),
        (lambda folder: replace(folder, head__bias=np.ones(3, np.int8)), "head.bias has type int8"),
        (cut, "damaged or cut short"),
        (lambda folder: (folder / "model.safetensors").unlink(), "contains no weights"),
        (lambda folder: describe(folder, id2label=None), "head.bias has shape"),
        (lambda folder: describe(folder, id2label=7), "id2label in config.json must name"),
        (lambda folder: describe(folder, id2label={"0": "good"}), "2 outputs or more"),
        (lambda folder: describe(folder, id2label={"0": "a", "1": "b"}), "head.bias has shape"),
        (lambda folder: describe(folder, hidden_size=None), "hidden_size must be a whole number"),
        (lambda folder: describe(folder, input_dropout="x"), "input_dropout must be a number"),
        (lambda folder: describe(folder, output_dropout=1.5), "dropout rates"),
        (lambda folder: describe(folder, model_type="bert"), "DiffMaskGruClassifier"),
        (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
        (
            lambda folder: (folder / "vocab.txt").unlink() or (folder / "tokenizer.json").unlink(),
            "no tokenizer",
        ),
    ],
)
def test_a_broken_folder_is_refused(copy, spoil, message):
    spoil(copy)
    with pytest.raises(UserError, match=message) as refusal:
        load_classifier(copy)
    assert "\n" not in str(refusal.value)
