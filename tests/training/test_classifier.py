"""A labelled set is learned, the best epoch kept, and a stopped fine-tuning ends as a whole one."""

import dataclasses
import json
import os
import re
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.data import batches, encoding
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.gru_classifier import fresh_gru
from diffmask_jax.models.loading import load_classifier, load_encoder
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.models.scores import macro_f1
from diffmask_jax.runtime import preemption
from diffmask_jax.runtime.checkpoints import Checkpoints
from diffmask_jax.training import classifier, classifier_calls
from diffmask_jax.training.classifier import Labelled, finetune

# Good and bad films, by one word; of one length, because every length costs a compilation.
TEXTS = 4 * [
    f"{start} {subject} {verb} {word}"
    for start in ("a", "the")
    for subject in ("film", "plot")
    for verb in ("was", "is", "is very")
    for word in ("great", "fun", "warm", "dull", "bad", "slow")
]
LABELS = np.array([int(any(w in text for w in ("great", "fun", "warm"))) for text in TEXTS])
EPOCH = len(TEXTS) // 16  # calls
RECIPE = Recipe(epochs=3, batch_size=8, steps_per_call=2, encoder_rate=1e-2, head_rate=1e-2)


# What takes long and does not depend on the kind of network is shown on one.
BERT_ONLY = pytest.mark.parametrize("kind", ["bert"], indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def short_texts():
    """The texts padded to 8 word pieces, not 16: that halves what there is to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LENGTHS", (8, *batches.LENGTHS))
        yield


@pytest.fixture(scope="module", params=["bert", "gru"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind, tiny_bert) -> Classifier:
    """The tiny one for two classes, as before any training: from its own weights it learns ill."""
    model = load_encoder(tiny_bert, ("bad", "good"))
    if kind == "gru":
        return fresh_gru(model, model.labels)
    return model._replace(params=model.architecture.init(jax.random.key(0), model.config))


@pytest.fixture(scope="module")
def encoded(model) -> list[Encoded]:
    return model.encode(TEXTS)


@pytest.fixture(scope="module")
def data(encoded) -> Labelled:
    return Labelled(encoded, LABELS)


@pytest.fixture(scope="module")
def whole(model, data, tmp_path_factory) -> Path:
    """The folder of a fine-tuning that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    finetune(model, data, data, RECIPE, folder)
    return folder


def history(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "finetuning" / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def predictions(folder: Path, encoded: list[Encoded]) -> np.ndarray:
    kept = load_classifier(folder)
    logits, _ = jax.jit(kept.network.states)(kept.params, batches.pad(encoded, 8))
    return np.asarray(logits.argmax(-1))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- learning --------------------------------------------------------------------------------


def test_a_labelled_set_is_learned(encoded, whole):
    found = history(whole)
    assert [line["epoch"] for line in found] == [1, 2, 3]
    assert found[-1]["loss"] < 0.1 < 0.3 < found[0]["loss"]
    assert found[-1]["accuracy"] == found[-1]["macro_f1"] == 1.0
    np.testing.assert_array_equal(predictions(whole, encoded), LABELS)
    assert load_classifier(whole).labels == ("bad", "good")


def test_all_but_the_frozen_is_trained_and_the_given_ones_stay(model, whole):
    kept = load_classifier(whole)
    assert kept.params.keys() == model.params.keys()
    for name in kept.params:
        pairs = zip(
            jax.tree.leaves(kept.params[name]), jax.tree.leaves(model.params[name]), strict=True
        )
        for new, old in pairs:
            assert np.isfinite(old).all()
            assert np.array_equal(new, old) == (name in model.architecture.frozen), name


def test_the_scores_are_those_of_the_kept_model(model, encoded, whole):
    best = max(history(whole), key=lambda line: line["macro_f1"])
    found = predictions(whole, encoded)
    assert best["accuracy"] == np.mean(found == LABELS)
    assert best["macro_f1"] == macro_f1(found, LABELS)
    assert not (whole / "finetuning" / "checkpoints").exists()


@BERT_ONLY
@pytest.mark.parametrize(
    ("course", "kept"),
    [pytest.param((0.2, 0.9, 0.5), 2, marks=pytest.mark.long), ((0.7, 0.7, 0.1), 1)],
)
def test_the_first_of_the_best_epochs_is_kept(
    model, data, whole, tmp_path, monkeypatch, course, kept
):
    seen, given = [], iter(course)

    def evaluator(*_):
        def evaluate(params):
            seen.append(jax.tree.map(np.array, params))
            return {"accuracy": 0.5, "macro_f1": next(given)}

        return evaluate

    monkeypatch.setattr(classifier, "evaluator", evaluator)
    scores = finetune(model, data, data, RECIPE, tmp_path)
    assert (scores["epoch"], scores["macro_f1"]) == (kept, course[kept - 1])
    jax.tree.map(np.testing.assert_array_equal, load_classifier(tmp_path).params, seen[kept - 1])


def test_a_finished_one_is_left_as_it_is(model, data, whole, monkeypatch):
    before = files(whole)
    monkeypatch.setattr(classifier, "play", lambda *_: pytest.fail("trained again"))
    scores = finetune(model, data, data, RECIPE, whole)
    assert scores == max(history(whole), key=lambda line: line["macro_f1"])
    assert files(whole) == before


@BERT_ONLY
def test_another_seed_is_another_training_which_speaks(
    model, data, whole, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(classifier_calls, "EVERY", 0.0)
    recipe = dataclasses.replace(RECIPE, seed=1)
    finetune(model, data, data, recipe, tmp_path)
    assert [line["loss"] for line in history(tmp_path)] != [line["loss"] for line in history(whole)]
    printed = capsys.readouterr()
    assert printed.out.count("macro_f1") == 3
    opening, classes, *lines = printed.err.splitlines()
    assert classes.startswith(f"{len(model.labels)} classes: {model.labels[0]}, ")
    assert opening.startswith(f"fine-tuning {Path(model.path).name} (bert): {len(TEXTS)} texts, 3 ")
    told = [re.fullmatch(rf"step (\d+) of {6 * EPOCH}: loss \d\.\d+", line) for line in lines]
    assert [int(one[1]) for one in told] == [*range(2, 6 * EPOCH + 1, 2)]


# --- stopping and going on -------------------------------------------------------------------


class Stopped(BaseException):
    """What a kill does to a process, inside one."""


@pytest.mark.parametrize(
    ("kind", "place", "calls"),
    [
        pytest.param("bert", "save", 2, marks=pytest.mark.long),
        pytest.param("bert", "write_in", 3, marks=pytest.mark.long),
        ("gru", "save", 2),
    ],
    indirect=["kind"],
    scope="module",
)
def test_a_stopped_fine_tuning_ends_as_a_whole_one(
    model, data, whole, tmp_path, monkeypatch, place, calls
):
    """Stopped before, while and after an epoch's model and scores are written, once each."""
    rest = iter(range(calls - 1))
    real = getattr(classifier, place)

    def stopping(*arguments):
        if next(rest, None) is None:
            raise Stopped
        return real(*arguments)

    arguments = model, data, data, RECIPE, tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(classifier, place, stopping)
        try:
            finetune(*arguments)
            assert place == "save", "fewer epochs than that improved on the one before"
        except Stopped:
            assert len(history_if_any(tmp_path / "model")) < RECIPE.epochs
    finetune(*arguments)
    assert files(tmp_path / "model") == files(whole)


def history_if_any(folder: Path) -> list[dict[str, float]]:
    return history(folder) if (folder / "finetuning" / "history.jsonl").exists() else []


@BERT_ONLY
@pytest.mark.parametrize(
    ("place", "moment", "step"),
    [
        ("check_finite", 7, 16),  # it is read of the seventh call while the eighth is running
        # An epoch's scores, which are written once it is saved.
        pytest.param("write_in", 2, None, marks=pytest.mark.long),
        pytest.param("save", 1, None, marks=pytest.mark.long),
        pytest.param("check_finite", 2 * EPOCH, 2 * 2 * EPOCH, marks=pytest.mark.long),
    ],
)
def test_a_signal_loses_nothing(model, data, whole, tmp_path, monkeypatch, place, moment, step):
    """Saved after the call that runs, or ended at once, in the midst of what is saved already."""
    module = classifier_calls if place == "check_finite" else classifier
    drawn, real, shuffled = [], getattr(module, place), batches.shuffled

    def terminating(*arguments):
        if next(rest, None) is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    def drawing(*arguments, **options):
        for batch in shuffled(*arguments, **options):
            drawn.append(batch.indices)
            yield batch

    rest = iter(range(moment - 1))
    arguments = model, data, data, RECIPE, tmp_path / "model"
    monkeypatch.setattr(batches, "shuffled", drawing)
    with monkeypatch.context() as patch:
        patch.setattr(module, place, terminating)
        with pytest.raises(preemption.Stopped) as stopped:
            finetune(*arguments)
    assert stopped.value.step == step
    assert not list((tmp_path / "model").glob(".*"))
    half = tmp_path / "model" / ".model.abcdefgh.tmp" / "model.safetensors"
    half.parent.mkdir()
    half.write_text("of a process that was killed")
    finetune(*arguments)
    assert len(drawn) == RECIPE.epochs * EPOCH
    assert files(tmp_path / "model") == files(whole)


@BERT_ONLY
def test_a_signal_at_the_very_end_is_not_forgotten(model, data, whole, tmp_path, monkeypatch):
    """All is done, and what called it, such as an experiment, stops."""
    close = Checkpoints.__exit__

    def closing(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        close(self, *arguments)

    arguments = model, data, data, RECIPE, tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "__exit__", closing)
        with pytest.raises(preemption.Stopped, match="stopped by SIGTERM"):
            finetune(*arguments)
    finetune(*arguments)
    assert files(tmp_path / "model") == files(whole)


# --- what is refused -------------------------------------------------------------------------


def assert_refused(message: str, model, data, folder, **changes) -> None:
    given = {"train": data, "dev": data, "recipe": RECIPE, **changes}
    before = files(folder) if folder.exists() else None
    with pytest.raises(UserError, match=message) as refusal:
        finetune(model, folder=folder, **given)
    assert "\n" not in str(refusal.value)
    assert (files(folder) if folder.exists() else None) == before


@pytest.mark.parametrize("part", ["train", "dev"])
@pytest.mark.parametrize(
    ("wrong", "message"), [(2, "labels 0–2, but the model has 2"), (-1, "-1–1")]
)
def test_labels_outside_the_classes_are_refused(model, data, tmp_path, part, wrong, message):
    gold = np.where(np.arange(len(LABELS)) == 3, wrong, LABELS)
    assert_refused(message, model, data, tmp_path / "new", **{part: data._replace(gold=gold)})


def test_texts_without_a_label_each_are_refused(model, data, tmp_path):
    fewer, new = data._replace(gold=LABELS[1:]), tmp_path / "new"
    assert_refused(f"{len(TEXTS)} texts and {len(TEXTS) - 1} labels", model, data, new, train=fewer)
    nothing = Labelled([], LABELS[:0])
    assert_refused("0 texts and 0 labels", model, data, new, dev=nothing)


def test_fewer_texts_than_a_batch_are_refused(model, data, tmp_path):
    few = Labelled(data.texts[:5], LABELS[:5])
    message = "5 texts do not fill one batch of 8"
    assert_refused(message, model, data, tmp_path / "new", train=few)
    many = dataclasses.replace(RECIPE, steps_per_call=2**20)
    assert_refused("more than 1048576 texts", model, data, tmp_path / "new", recipe=many)


def test_a_text_longer_than_the_model_takes_is_refused(model, data, tmp_path):
    (long,) = encoding.batch_encode(model.tokenizer, ["film " * 30])
    longer = data._replace(texts=[*data.texts[:-1], long])
    message = "32 word pieces, but the limit is 20"
    assert_refused(message, model, data, tmp_path / "new", dev=longer)


def test_a_folder_of_something_else_is_refused(model, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert_refused("is not empty and contains no fine-tuning", model, data, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": dataclasses.replace(RECIPE, epochs=4)}, "epochs 3 → 4"),
        ({"train": 1 - LABELS}, "data '.*' → '.*'"),
    ],
)
def test_another_fine_tuning_is_refused(model, data, whole, changes, message):
    if "train" in changes:
        changes = {"train": data._replace(gold=changes["train"])}
    assert_refused(message, model, data, whole, **changes)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_damaged_settings_are_refused(model, data, whole, tmp_path, text):
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (folder / "finetuning" / "settings.json").write_text(text)
    assert_refused("cannot fine-tune in", model, data, folder)


def test_a_damaged_history_is_refused(model, data, whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (folder / "finetuning" / "history.jsonl").write_text('{"epoch": 1,')
    assert_refused("history.jsonl is damaged", model, data, folder)


@pytest.mark.parametrize("content", ['{"epoch": 2, "loss": 1.0}', '{"epoch": 1, "loss": 1.0}'])
def test_a_history_of_other_epochs_or_scores_is_refused(model, data, whole, tmp_path, content):
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (folder / "finetuning" / "history.jsonl").write_text(content + "\n")
    assert_refused("line 1 does not have the scores of epoch 1", model, data, folder)


def test_a_model_that_is_gone_or_damaged_is_told(model, data, whole, tmp_path):
    """Whether its fine-tuning is finished or not: its best epoch is lost."""
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    weights, config = folder / "model.safetensors", folder / "config.json"
    said = config.read_text()
    message = f"fine-tuned model in {re.escape(str(folder))} is missing or damaged"
    config.write_text(said.replace('"bad"', '"other"').replace('"good"', '"another"'))
    assert_refused(f"{message} .its classes are ", model, data, folder)
    config.write_text(said)
    weights.write_bytes(weights.read_bytes()[:-9])
    assert_refused(f"{message} .*cut short", model, data, folder)
    weights.unlink()
    assert_refused(f"{message} .*contains no weights", model, data, folder)


@BERT_ONLY
def test_one_killed_before_it_kept_its_settings_begins_anew(model, data, whole, tmp_path):
    (tmp_path / "new" / "finetuning").mkdir(parents=True)
    (tmp_path / "new" / "finetuning" / "settings.json.1.tmp").write_text("{")
    finetune(model, data, data, RECIPE, tmp_path / "new")
    assert history(tmp_path / "new") == history(whole)


@BERT_ONLY
def test_a_fine_tuning_from_before_there_were_grus_is_known(model, data, whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    file = folder / "finetuning" / "settings.json"
    stored = json.loads(file.read_text())
    del stored["frozen"]
    file.write_text(json.dumps(stored))
    scores = finetune(model, data, data, RECIPE, folder)
    assert scores == max(history(whole), key=lambda line: line["macro_f1"])


def test_a_model_of_the_other_kind_is_another_fine_tuning(kind, model, data, whole, tiny_bert):
    encoder = load_encoder(tiny_bert, model.labels)
    other = fresh_gru(encoder, model.labels) if kind == "bert" else encoder
    assert other.path == model.path
    assert_refused(r"frozen \[.*\] → \[.*\]", other, data, whole)


def test_numbers_that_stop_being_finite_stop_the_training(model, data, tmp_path):
    params = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), model.params["head"])
    spoiled = model._replace(params=model.params | {"head": params})
    with pytest.raises(UserError, match="not finite: lower encoder_rate or head_rate"):
        finetune(spoiled, data, data, RECIPE, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
