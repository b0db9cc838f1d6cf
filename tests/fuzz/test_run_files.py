"""Damaged runs: what training keeps in its folder, and what others read of it."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import json_texts, line_texts, tensor_files
from safetensors.numpy import save
from trying import some, tried

from diffmask_jax.explaining import comparing
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.checkpoints import newest_whole
from diffmask_jax.training import (
    classifier,
    curve_log,
    fingerprint,
    keeping,
    run_folder,
    run_log,
)
from diffmask_jax.training.assessment import LastValidation
from diffmask_jax.training.settled import Curves, verdict_on

STEPS = [{"step": 10, **{name: [0.5, 1.0] for name in Curves._fields}}, {"step": 20}]
STEPS[1] = STEPS[0] | STEPS[1]


ROW: dict = {"layer": "W", "masked": 0.5, "divergence": 0.1, "multiplier": 2.0}
ROW |= {"still": True, "on_margin": True}
LAST = LastValidation(20, True, [ROW])


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """A run whose every file is there, each of which is spoilt in turn."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    shutil.copytree(run, folder)
    run_folder.save_scale(folder, 0.5)
    run_folder.save_last_validation(folder, LAST)
    (folder / "validation.jsonl").write_text('{"step": 10, "masked": 0.5}\n{"step": 20}\n')
    (folder / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in STEPS))
    return folder


def judged(steps, curves) -> None:
    if len(steps):
        verdict_on(curves, 0.1)


READ = {
    "config.json": run_folder.load_config,
    "environment.json": run_folder.other_devices,
    "scale.json": run_folder.load_scale,
    "layers.json": run_folder.load_last_validation,
    "validation.jsonl": lambda folder: run_log.is_validated(folder, 20),
    "curves.jsonl": lambda folder: judged(*curve_log.read_curves(folder)),
}


def test_every_file_is_accepted_as_it_is(folder):
    assert run_folder.load_config(folder).task == "texts"
    assert run_folder.load_last_validation(folder) == LAST and run_folder.load_scale(folder) == 0.5
    assert run_log.is_validated(folder, 20) and len(curve_log.read_curves(folder)[0]) == 2
    assert run_folder.load_probe(folder)[1]["step"] == 7


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
@some
def test_files_of_json(folder, tmp_path_factory, name, data):
    content = (folder / name).read_text()
    if name.endswith(".jsonl"):
        content = data.draw(line_texts(content))
    else:
        content = data.draw(json_texts(json.loads(content)))
    copy = tmp_path_factory.mktemp("copy")
    (copy / name).write_bytes(content)
    with tried(f"run: {name}"):
        READ[name](copy)
    with tried("settings of a folder"):
        settings.differences(settings.read(copy / name) or {}, {"steps": 1})


@given(data=st.data())
@some
def test_the_probe(folder, tmp_path_factory, data):
    copy = tmp_path_factory.mktemp("copy")
    whole = (folder / "probe.safetensors").read_bytes()
    (copy / "probe.safetensors").write_bytes(data.draw(tensor_files(whole)))
    with tried("run: probe.safetensors"):
        params, scores = run_folder.load_probe(copy)
        assert isinstance(params, dict) and np.isfinite([*map(float, scores.values())]).all()
        scores = keeping.kept_scores(copy)
        assert {*keeping.SCORES} <= scores.keys()


SCORES = ("accuracy", "macro_f1")
EPOCHS = [
    {"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "macro_f1": None} for epoch in (1, 2)
]


@given(data=st.data())
@some
def test_a_fine_tuning(tmp_path_factory, data):
    """Its history and its settings; the model that it keeps is one of `test_model_files`."""
    folder = tmp_path_factory.mktemp("model")
    place = folder / "finetuning"
    place.mkdir()
    lines = "\n".join(map(json.dumps, EPOCHS)) + "\n"
    (place / "history.jsonl").write_bytes(data.draw(line_texts(lines)))
    with tried("fine-tuning: history.jsonl"):
        history = classifier._read_history(place, SCORES)
        assert [scores["epoch"] for scores in history] == [*range(1, len(history) + 1)]
        assert all(isinstance(scores[name], float) for scores in history for name in SCORES)
        assert not history or classifier._best(history, "accuracy") in history
    asked = {"model": "m", "frozen": [], "labels": ["bad", "good"], "data": "0", "epochs": 2}
    (place / "settings.json").write_bytes(data.draw(json_texts(asked)))
    with tried("fine-tuning: settings.json"):
        classifier._open(folder, asked)
        assert settings.read(place / "settings.json") == asked


@given(data=st.data())
@some
def test_what_a_run_was_made_with(tmp_path_factory, data):
    copy = tmp_path_factory.mktemp("copy")
    made_with = {"hidden_size": 16, "layer_types": ["a"], "weights": "0", "train texts": "0"}
    (copy / fingerprint.FILE).write_bytes(data.draw(json_texts(made_with)))
    with tried("run: fingerprint.json"):
        fingerprint.check(copy, made_with)
    whole = save({name: np.ones((2, 3), np.float32) for name in ("mean", "deviation")})
    (copy / "statistics.safetensors").write_bytes(data.draw(tensor_files(whole)))
    with tried("run: statistics.safetensors"):
        noise, made_with = comparing._read_noise(copy / "statistics.safetensors")
        assert np.isfinite(noise.mean).all() and isinstance(made_with, dict)


@given(data=st.data())
@some
def test_checkpoints(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2):
        (folder / str(step)).mkdir()
        digests = data.draw(json_texts({"default/a": "0" * 64}))
        (folder / str(step) / "sha256.json").write_bytes(digests)
    with tried("checkpoint: sha256.json"):
        newest_whole(folder)
