"""What is saved comes back bit for bit, PyTorch reads it, and nothing is lost or half there."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from diffmask_jax.data import batches, encoding
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.config import Dropout
from diffmask_jax.models.heads import HEADS
from diffmask_jax.models.huggingface import saving
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_classifier, load_encoder

FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}


@pytest.fixture(scope="module")
def classifier(tiny_bert) -> Classifier:
    return load_classifier(tiny_bert)


def doubled(classifier: Classifier) -> Classifier:
    return classifier._replace(params=jax.tree.map(lambda x: 2 * x, classifier.params))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_what_is_saved_comes_back_bit_for_bit(classifier, sentences, tmp_path):
    save(tmp_path / "new" / "model", classifier)
    assert {path.name for path in (tmp_path / "new" / "model").iterdir()} == FILES
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    back = load_classifier(tmp_path / "new" / "model")
    jax.tree.map(np.testing.assert_array_equal, back.params, classifier.params)
    assert (back.config, back.labels) == (classifier.config, classifier.labels)
    before, after = classifier.encode(sentences), back.encode(sentences)
    assert [text.ids.tolist() for text in after] == [text.ids.tolist() for text in before]


def test_the_weights_are_pytorch_s(classifier, tiny_bert, tmp_path):
    """The same names, shapes and numbers as in the file that they were read from."""
    save(tmp_path, classifier)
    saved, source = (
        safetensors.numpy.load_file(folder / "model.safetensors")
        for folder in (tmp_path, tiny_bert)
    )
    assert saved.keys() == source.keys()
    for name in source:
        assert saved[name].dtype == np.float32
        np.testing.assert_array_equal(saved[name], source[name])
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}


def test_pytorch_reads_it_and_agrees(classifier, sentences, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    save(tmp_path, doubled(classifier))
    model = transformers.BertForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    with torch.inference_mode():
        read = tokenizer(list(sentences), padding=True, return_tensors="pt")
        expected = model(**read).logits.numpy()
    back = load_classifier(tmp_path)
    encoded = encoding.batch_encode(back.tokenizer, sentences)
    logits, _ = jax.jit(back.network.states)(back.params, batches.pad(encoded, 20))
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert tuple(model.config.id2label[number] for number in range(3)) == classifier.labels
    assert model.dtype == torch.float32


def test_the_configuration_keeps_what_it_can_and_says_what_is_new(tiny_bert, tmp_path):
    source = Path(shutil.copytree(tiny_bert, tmp_path / "source"))
    before = json.loads((source / "config.json").read_text()) | {
        "architectures": ["BertForMaskedLM"],
        "torch_dtype": "float16",
        "num_labels": 7,
        "problem_type": "regression",
        "initializer_range": 0.03,
        "hidden_dropout_prob": 0.2,
    }
    (source / "config.json").write_text(json.dumps(before))
    save(tmp_path / "saved", load_encoder(source, ["no", "yes"]))
    after = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert after["architectures"] == ["BertForSequenceClassification"]
    assert after["id2label"] == {"0": "no", "1": "yes"}
    assert after["label2id"] == {"no": 0, "yes": 1}
    assert after["initializer_range"] == 0.03
    assert (after["dtype"], after["problem_type"]) == ("float32", "single_label_classification")
    assert not {"torch_dtype", "num_labels"} & set(after)
    assert load_classifier(tmp_path / "saved").config.dropout == Dropout(0.2, 0.1, 0.2)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("count", [1, 3])
def test_every_head_comes_back_and_is_pytorch_s(tiny_bert, sentences, tmp_path, kind, count):
    """A regression of several outputs and a single label too, which no number of outputs tells."""
    head = HEADS[kind]
    if count < head.fewest:
        pytest.skip("a choice needs two")
    labels = [f"output {number}" for number in range(count)]
    saved = load_encoder(tiny_bert, labels, head=head)
    save(tmp_path, saved)
    back = load_classifier(tmp_path)
    assert back.head is head and back.labels == tuple(labels)
    jax.tree.map(np.testing.assert_array_equal, back.params, saved.params)

    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert (theirs.config.problem_type, theirs.config.num_labels) == (kind, count)
    encoded = back.encode(sentences)
    inputs = batches.pad(encoded, 20)
    with torch.inference_mode():
        expected = theirs(
            input_ids=torch.tensor(inputs.tokens, dtype=torch.long),
            attention_mask=torch.tensor(inputs.valid, dtype=torch.long),
        ).logits.numpy()
    logits, _ = jax.jit(back.network.states)(back.params, inputs)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_it_can_be_saved_when_its_source_is_gone(classifier, tmp_path):
    save(tmp_path, classifier._replace(path=str(tmp_path / "gone")))
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"vocab.txt"}
    assert load_classifier(tmp_path).config == classifier.config


def test_new_weights_of_the_same_model_replace_the_old_beside_a_training(classifier, tmp_path):
    (tmp_path / saving.TRAINING).mkdir()
    (tmp_path / saving.TRAINING / "history.jsonl").write_text("{}")
    save(tmp_path, classifier)
    before = contents(tmp_path)
    save(tmp_path, doubled(classifier))
    after = contents(tmp_path)
    assert {name for name in FILES if before[name] != after[name]} == {"model.safetensors"}
    assert (tmp_path / saving.TRAINING / "history.jsonl").read_text() == "{}"


def with_another_size(folder: Path, classifier: Classifier) -> None:
    config = dataclasses.replace(classifier.config, epsilon=1e-6)
    save(folder, classifier._replace(config=config))


@pytest.mark.parametrize(
    "fill",
    [
        lambda folder, _: (folder / "notes.txt").write_text("mine"),
        lambda folder, _: (folder / "photos").mkdir(),
        lambda folder, _: (folder / "model.safetensors").write_bytes(b"without a config.json"),
        with_another_size,
    ],
)
def test_a_folder_of_something_else_is_left_as_it_is(classifier, tmp_path, fill):
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(folder, classifier)
    before = contents(folder)
    with pytest.raises(UserError, match=r"contains something else .*choose another folder"):
        save(folder, classifier)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_in_the_way_is_one_line(classifier, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        save(tmp_path / "file", classifier)


@pytest.mark.parametrize("allowed", range(len(FILES)))
def test_a_save_that_breaks_off_leaves_no_model_and_the_next_one_heals_it(
    classifier, tmp_path, monkeypatch, allowed
):
    """Whichever file it breaks off before, the weights are not there yet."""
    moved = []

    def replace(source, target):
        if len(moved) == allowed:
            raise OSError(28, "No space left on device")
        moved.append(target)
        os.rename(source, target)

    folder = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(saving.os, "replace", replace)
        with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
            save(folder, classifier)
    assert len(list(folder.iterdir())) == allowed
    assert not (folder / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    save(folder, classifier)
    assert load_classifier(folder).labels == classifier.labels
