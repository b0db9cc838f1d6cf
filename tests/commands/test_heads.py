"""Several labels and real numbers, from `train` to `explain` and `evaluate` and back again."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax import Explainer, cli
from diffmask_jax.data import batches
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.training import run_folder, setup

FEW = "--steps-per-call 2 --batch-size 4 --validate-every 2 --tolerance 1e6 --min-agreement 1e-9"
SETS = [["bad"], ["good", "mixed"], [], ["mixed"], ["bad", "mixed"], ["good"], ["bad"], ["good"]]
NUMBERS = [0.5, -1.0, 2.0, 3.5, -2.5, 0.0, 1.0, 2.5]


@pytest.fixture(scope="module", autouse=True)
def one_length():
    """The texts padded to 20 word pieces, all that the model takes: one program for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LENGTHS", (20,))
        yield


def describe(model, **changes):
    """Change what a model's config.json says."""
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return model


def write(file, texts, labels):
    lines = [
        json.dumps({"text": t, "label": label}) for t, label in zip(texts, labels, strict=True)
    ]
    file.write_text("\n".join(lines))
    return file


def train(model, file, out, steps: int = 4) -> int:
    places = ["--model", model, "--train", file, "--dev", file, "--out", out]
    return cli.main(["train", "texts", *map(str, places), "--steps", str(steps), *FEW.split()])


@pytest.fixture(scope="module")
def several(tiny_bert, sentences, tmp_path_factory):
    """(run, labelled file) of a model with three labels, each a yes or no of its own."""
    place = tmp_path_factory.mktemp("several")
    model = shutil.copytree(tiny_bert, place / "model")
    describe(model, problem_type="multi_label_classification")
    file = write(place / "texts.jsonl", sentences, SETS)
    assert train(model, file, place / "run") == 0
    return place / "run", file


@pytest.fixture(scope="module")
def numbers(shallow_bert, save_bert, sentences, tmp_path_factory):
    """(run, labelled file) of a regression: one output, and nothing else says so."""
    place = tmp_path_factory.mktemp("numbers")
    config = load_classifier(shallow_bert).config
    model = save_bert(place / "model", dataclasses.replace(config, classes=1))
    file = write(place / "texts.jsonl", sentences, NUMBERS)
    assert train(model, file, place / "run") == 0
    return place / "run", file


@pytest.fixture
def explained(capsys, tmp_path):
    """(run, texts) -> (what is drawn, the objects that are written)."""

    def explain(run, *texts: str) -> tuple[str, list[dict]]:
        out = tmp_path / "out.jsonl"
        assert cli.main(["explain", str(run), *texts]) == 0
        drawn = capsys.readouterr().out
        assert cli.main(["explain", str(run), *texts, "--jsonl", str(out)]) == 0
        return drawn, [json.loads(line) for line in out.read_text().splitlines()]

    return explain


def logits_of(run, texts) -> np.ndarray:
    """Of the run's model, computed one text at a time."""
    model = load_classifier(run_folder.load_config(run).model)
    return np.concatenate([setup.outputs_of(model, [text]) for text in model.encode(texts)])


# --- several labels --------------------------------------------------------------------------


def test_all_labels_that_are_set_are_named(several, explained, sentences):
    run, _ = several
    drawn, objects = explained(run, *sentences)
    expected = logits_of(run, sentences)  # outputs_of gives probabilities
    sets = []
    for line, probabilities in zip(objects, expected, strict=True):
        found = line["probabilities"]
        assert list(found) == ["bad", "mixed", "good"]
        np.testing.assert_allclose([*found.values()], probabilities, atol=1e-4)
        sets.append([label for label, p in found.items() if p > 0.5])
        assert line["prediction"] == sets[-1] and "outputs" not in line
    assert len({*map(tuple, sets)}) > 1 and any(len(chosen) > 1 for chosen in sets)
    titles = [text.splitlines()[0] for text in drawn.split("\n\n")]
    for title, line, chosen in zip(titles, objects, sets, strict=True):
        named = ", ".join(f"“{label}” ({line['probabilities'][label]:.2f})" for label in chosen)
        assert title == named or (not chosen and title.startswith("no label"))


def test_sets_of_labels_are_scored(several, capsys, tmp_path):
    run, file = several
    out = tmp_path / "a.json"
    assert cli.main(["evaluate", str(run), "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert [score["name"] for score in report["scores"]] == ["accuracy", "macro_f1", "micro_f1"]
    assert "micro-F1 original → masked" in capsys.readouterr().out
    assert cli.main(["evaluate", str(run), "--texts", str(file), "--out", str(out)]) == 0
    again = json.loads(out.read_text())
    assert again["thresholded"] == report["thresholded"]
    assert 0 < report["thresholded"][0]["macro_f1_original"] < 1


def test_a_divergence_of_sets_is_not_a_softmax_s(several, sentences):
    """Labels that flip together leave a softmax as it was: here they count."""
    family = Explainer.from_pretrained(several[0]).game.model.family
    logits = jnp.array([[2.0, 2.0, 2.0]])
    assert family.divergence(logits, -logits)[0] > 1
    assert family.agreement(family.prediction(logits), family.prediction(-logits))[0] == 0


# --- real numbers ----------------------------------------------------------------------------


def test_the_scale_is_the_variance_over_the_training_texts_and_is_kept(numbers, sentences):
    run, _ = numbers
    outputs = logits_of(run, sentences)
    kept = json.loads((run / "scale.json").read_text())["scale"]
    np.testing.assert_allclose(kept, outputs.var(), rtol=1e-4)
    explainer = Explainer.from_pretrained(run)
    a, b = outputs[:1], outputs[1:2]
    found = explainer.game.model.family.divergence(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, (a - b)[:, 0] ** 2 / (2 * kept), rtol=1e-5)


def test_a_number_is_shown_and_written(numbers, explained, sentences):
    drawn, objects = explained(numbers[0], *sentences)
    values = logits_of(numbers[0], sentences)[:, 0]
    titles = [text.splitlines()[0] for text in drawn.split("\n\n")]
    for title, line, value in zip(titles, objects, values, strict=True):
        np.testing.assert_allclose(line["prediction"], value, atol=1e-4)
        assert "probabilities" not in line and len(line["outputs"]) == 1
        np.testing.assert_allclose([*line["outputs"].values()], [value], atol=1e-4)
        assert title == f"{line['prediction']:.3f}"


def test_a_picture_and_a_page_of_a_number(numbers, tmp_path, sentences):
    found = Explainer.from_pretrained(numbers[0])(sentences[0])
    assert found.probabilities is None and isinstance(found.prediction, float)
    for ending in ("json", "html", "png"):
        found.save(tmp_path / f"a.{ending}")
    assert f"{found.prediction:.3f}" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_numbers_are_scored_in_units_of_the_training_s_scale(
    numbers, random_probe, tmp_path, sentences, capsys
):
    """A probe that drops much, and texts whose outputs vary otherwise."""
    out, some = tmp_path / "a.json", write(tmp_path / "b.jsonl", sentences[:3], NUMBERS[:3])
    run = shutil.copytree(numbers[0], tmp_path / "run")
    run_folder.save_probe(run, random_probe("input", layers=3), {"masked": 0.5, "step": 4})

    def row() -> dict[str, float]:
        assert cli.main(["evaluate", str(run), "--texts", str(some), "--out", str(out)]) == 0
        report = json.loads(out.read_text())
        assert [score["name"] for score in report["scores"]] == ["pearson", "error"]
        assert report["thresholded"][-1]["masked"] > 0.1
        return report["thresholded"][-1]

    first = row()
    assert "root mean square error original → masked" in capsys.readouterr().out
    values = logits_of(run, sentences[:3])[:, 0]
    expected = np.sqrt(np.mean((values - np.array(NUMBERS[:3])) ** 2))
    np.testing.assert_allclose(first["error_original"], expected, rtol=1e-4)
    scale = json.loads((run / "scale.json").read_text())["scale"]
    (run / "scale.json").write_text(json.dumps({"scale": 2 * scale}))
    assert first["divergence"] > 1e-3
    np.testing.assert_allclose(row()["divergence"] * 2, first["divergence"], rtol=1e-4)


def test_a_training_that_goes_on_keeps_its_scale(numbers, tmp_path, monkeypatch):
    """It is not measured again: on other devices its last bits might differ."""
    run, file = numbers
    copy = shutil.copytree(run, tmp_path / "run")
    monkeypatch.setattr(setup, "outputs_of", None)
    assert train(run_folder.load_config(run).model, file, copy, steps=6) == 0
    assert (copy / "scale.json").read_bytes() == (run / "scale.json").read_bytes()
    lines = (copy / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]


def test_a_run_whose_scale_is_lost_or_damaged_is_refused(numbers, tmp_path, capsys):
    copy = shutil.copytree(numbers[0], tmp_path / "run")
    for content in ("{}", '{"scale": -1.0}', '{"scale": "a"}', "no", None):
        if content is None:
            (copy / "scale.json").unlink()
        else:
            (copy / "scale.json").write_text(content)
        assert cli.main(["evaluate", str(copy)]) == 2
        err = capsys.readouterr().err
        assert "scale.json" in err and err.count("\n") == 1


def test_outputs_that_never_vary_leave_no_folder(numbers, tmp_path, capsys):
    file = write(tmp_path / "same.jsonl", ["fun film"] * 8, NUMBERS)
    assert train(run_folder.load_config(numbers[0]).model, file, tmp_path / "run") == 2
    assert "variance of 0: there is nothing to explain" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
