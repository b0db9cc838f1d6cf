"""The SST experiment from end to end on a tiny BERT: it reports, and goes on where it was."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from shared import shared

from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.attribution import methods
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.tasks.sst import SstPlaces
from experiments.common.measuring import deviations
from experiments.sst import __main__ as sst
from experiments.sst import margins, numbers, stages

pytest.importorskip("tensorflow_datasets")

LOOSE = {"tolerance": 1e4, "min_agreement": 1e-9}
SHORT = {"steps": 4, "steps_per_call": 2, "batch_size": 4, "warmup": 1, "validate_every": 2}
CLAIMS = {
    *(f"sst.{gate}.{name}" for gate in ("input", "hidden") for name in ("masked", "on_margin")),
    *(f"sst.{gate}.{name}.{split}" for gate in ("input", "hidden") for split in ("dev", "test")
      for name in ("macro_f1", "macro_f1_per_batch", "accuracy")),
    "sst.hidden.unread", "sst.input.forming",
    "sst.stability.input", "sst.stability.hidden",
    "sst.cls_last.diffmask", "sst.cls_last.diffmask.of_all_states",
    "sst.cls_last.schulz.predicted", "sst.cls_last.schulz.gold",
    "sst.cls_last.schulz.of_all_states.predicted",
    "sst.fig4.polar_minus_neutral", "sst.fig4.polar_minus_neutral.hidden",
}  # fmt: skip


@pytest.fixture
def places(save_bert, sentences, treebank, prepared, tmp_path, monkeypatch):
    """A five-class model, trees of its words, tags; and settings of a few steps."""
    from tests.conftest import CONFIG

    model = save_bert(tmp_path / "model", dataclasses.replace(CONFIG, classes=5, blocks=1))
    words = [text.replace(",", " ,").replace("!", " !").split() for text in sentences]
    tags = [json.dumps({"words": text, "upos": ["NOUN"] * len(text)}) for text in words]
    (tmp_path / "tags.jsonl").write_text("\n".join(tags) + "\n")
    settings = {gate: sst.SETTINGS[gate] | SHORT | LOOSE for gate in sst.GATES}
    monkeypatch.setattr(sst, "SETTINGS", settings)
    monkeypatch.setattr(sst, "SENTENCE", "a great film")
    # Of the methods in Figure 6 another that compiles soon: test_comparing.py draws these.
    assert set(sst.IN_THE_PAPER) < set(methods.USUAL)
    monkeypatch.setattr(sst, "IN_THE_PAPER", ("gradient",))
    return {
        "--model": model, "--raw-dir": treebank, "--data-dir": prepared,
        "--tags": tmp_path / "tags.jsonl", "--seeds": 2, "--out": tmp_path / "report",
    }  # fmt: skip


@pytest.fixture
def experiment(places, command_of):
    """Run it with some options changed."""
    return command_of(sst, places)


def test_it_reports_every_claim_and_goes_on_where_it_was(experiment, places):
    experiment()
    out = places["--out"]
    first = json.loads((out / "report.json").read_text())
    assert {claim["id"] for claim in first["claims"]} == CLAIMS
    for figure in ("figure4", "figure5", "figure6", "training_input", "training_hidden"):
        assert (out / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert set(first["raw"]["figure4"]) == {"input tokens", "hidden states"}
    kept = sorted(out.rglob("*.npz"))
    assert len(kept) == 2 * 2 * 4 + 4  # runs × measurements, the model, Schulz et al. three times

    times = [file.stat().st_mtime_ns for file in kept]
    kept[0].unlink()  # as if it had been stopped before
    experiment()
    second = json.loads((out / "report.json").read_text())
    assert second["claims"] == first["claims"] and second["raw"] == first["raw"]
    assert [file.stat().st_mtime_ns for file in kept][1:] == times[1:]


def test_a_wrong_tag_file_is_refused_before_the_training(experiment, places, tmp_path, capsys):
    lines = places["--tags"].read_text().splitlines()
    lines[3] = lines[3].replace('"film"', '"plot"').replace('"actor"', '"plot"')
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("\n".join(lines))
    with pytest.raises(SystemExit) as stopped:
        experiment(tags=wrong)
    assert stopped.value.code == 2
    assert "wrong.jsonl:4" in capsys.readouterr().err
    assert not (places["--out"] / "runs").exists()


def test_no_sentences_for_schulz_are_refused_before_the_training(experiment, places, capsys):
    with pytest.raises(SystemExit):
        experiment(schulz_sentences=0)
    assert "--schulz-sentences must be at least 1" in capsys.readouterr().err
    assert not places["--out"].exists()


def test_a_head_of_other_classes_is_refused(experiment, tiny_bert, capsys):
    with pytest.raises(SystemExit):
        experiment(model=tiny_bert)
    assert "has 3 classes and SST has 5" in capsys.readouterr().err


def test_the_largest_attribution_must_be_alone():
    first = np.zeros((3, 4))
    first[-1, 0] = 1.0
    tie = first.copy()
    tie[0, 2] = 1.0
    assert numbers.cls_largest([first, first], slice(None)) == 1.0
    assert numbers.cls_largest([first, tie], slice(None)) == 0.5
    assert numbers.cls_largest([first, tie], slice(-1, None)) == 1.0


def test_stability_is_the_deviation_over_runs():
    one = [np.log(np.full((2, 3), 0.2)), np.log(np.full((2, 1), 0.2))]
    other = [np.log(np.array([[0.6] * 3, [0.2] * 3])), np.log(np.full((2, 1), 0.2))]
    expected = [0.75 * np.std([0.2, 0.6], ddof=1), 0]
    np.testing.assert_allclose(deviations([one, other]), expected, atol=1e-12)


def test_what_nobody_reads_is_all_of_the_last_layer_but_its_first_state():
    keep = np.full((2, 3), 0.9)
    keep[-1] = [1.0, 0.1, 0.3]
    assert numbers.kept_of_unread([np.log(keep)]) == pytest.approx(0.2)


def test_changes_are_taken_over_the_split_and_within_batches_of_64():
    """Of perfect predictions, a batch counts the classes it has, of those up to its highest."""
    labels = np.repeat([0, 1, 2, 3, 4], [64, 64, 64, 32, 32])
    outcome = Outcome(*[np.zeros((1, len(labels)))] * 3, prediction=labels[None], original=labels)
    found = numbers.changes(labels, [outcome])
    assert found["macro_f1"].before == found["accuracy"].before == 1
    assert found["macro_f1_per_batch"].before == pytest.approx(np.mean([1, 1 / 2, 1 / 3, 2 / 5]))
    assert numbers.written([outcome]) == [["".join(map(str, labels))]]


@pytest.mark.long
def test_the_f1_of_a_published_checkpoint_is_what_was_measured_in_pytorch(tmp_path):
    """Both numbers are of ../shared/METHOD.md, whose authors did not use this package."""
    folder, trees = shared("models/sst5-minilm", "data/sst")
    model = load_classifier(folder)
    study = stages.open_study(model, SstPlaces(str(trees), str(tmp_path / "tfds")), "dev", tmp_path)
    original = stages.probabilities(study, tmp_path / "model.npz").argmax(axis=1)
    nothing = Outcome(*[np.zeros((1, len(original)))] * 3, original[None], original)
    found = numbers.changes(study.labels, [nothing])
    assert found["macro_f1"].before == pytest.approx(0.4616, abs=5e-5)
    assert found["macro_f1_per_batch"].before == pytest.approx(0.3533, abs=5e-5)


def test_flips_are_counted_by_the_models_certainty():
    probabilities = np.array([[0.5, 0.45, 0.05], [1.0, 0.0, 0.0], [0.52, 0.43, 0.05]])
    outcome = Outcome(
        masked=np.zeros((2, 3)),
        divergence=np.zeros((2, 3)),
        agreement=np.array([[0, 1, 1], [1, 1, 0]]),
        prediction=np.array([[1, 0, 0], [0, 0, 1]]),
        original=np.array([0, 0, 0]),
    )
    low, high = numbers.flips(probabilities, [outcome])
    assert (low.gap, low.sentences, low.flipped) == ("0–0.1", 2, 0.5)
    assert (high.sentences, high.flipped) == (1, 0.0)


def test_a_margin_is_measured_where_it_was_trained(
    places, command_of, tmp_path, monkeypatch, capsys
):
    """Everything but the trainings and what they mask, which are told: half, by 0.9 of a margin."""
    trained = {}

    def measure(study, test, folders):
        config, outcomes = trained[folders[0]], []
        for labels in (study.labels, test.labels):
            masked = np.full((3, len(labels)), 0.5)
            turned = np.where(np.arange(len(labels)) < 1, labels, (labels + 1) % 5)
            divergence, agreement = 0.9 * config.margin * masked / 0.5, np.zeros_like(masked)
            outcomes.append(
                [Outcome(masked, divergence, agreement, np.tile(turned, (3, 1)), labels)]
            )
        return stages.Measured(folders, [], [], outcomes[0], [], outcomes[1])

    monkeypatch.setattr(stages, "train_all", lambda configs, model: trained.update(configs))
    monkeypatch.setattr(stages, "measure", measure)
    of_margins = {k: v for k, v in places.items() if k not in ("--tags", "--seeds")}
    command_of(margins, of_margins)(input="0.1", steps=7)
    assert [(c.gate, c.margin, c.steps) for c in trained.values()] == [
        ("input", 0.1, 7), *(("hidden", margin, 7) for margin in margins.MARGINS["hidden"])
    ]  # fmt: skip
    rows = json.loads((places["--out"] / "report.json").read_text())["raw"]["rows"]
    assert [row["divergence"] for row in rows] == pytest.approx([0.09, 0.045, 0.018, 0.009])
    assert all(row["macro_f1"]["dev"]["before"] > row["macro_f1"]["dev"]["after"] for row in rows)
    assert "| input | 0.1 | 50.0% | 0.090 |" in capsys.readouterr().out
    assert (places["--out"] / "margins.png").read_bytes().startswith(b"\x89PNG")

    others = Path(shutil.copytree(places["--raw-dir"], tmp_path / "trees")) / "test.txt"
    others.write_text("".join(reversed(others.read_text().splitlines(keepends=True))))
    moved = {"--raw-dir": others.parent, "--data-dir": tmp_path / "tfds"}
    with pytest.raises(SystemExit):
        command_of(margins, of_margins | moved)(input="0.1", steps=7)
    assert "contains results of another test" in capsys.readouterr().err
