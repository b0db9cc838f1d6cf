"""Folders made by the code of 4c21e01, before encoders, heads and tasks had a file each, serve on.

`folders_of_4c21e01.tar.gz` holds a model, two runs of 8 steps with their checkpoints, and two
finished fine-tunings, with absolute paths below /work/fixture; and what that code said of two texts
and on the way to step 16.
"""

import json
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_set import shown_by

from diffmask_jax import Explainer, cli
from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.game.drawing import sample_gates
from diffmask_jax.models.gru_classifier import GRU_CLASSIFIER
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.tasks.trees import LABELS
from diffmask_jax.training import classifier, run_folder, setup
from diffmask_jax.training.config import as_dict

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "folders_of_4c21e01.tar.gz"
MADE_IN = "/work/fixture"
ASKED = [
    "--batch-size",
    "4",
    "--warmup",
    "2",
    "--validate-every",
    "4",
    "--validation-texts",
    "4",
    "--tolerance",
    "1000000",
    "--min-agreement",
    "0.0001",
    *[
        "--setting",
        "authors",
        "--sparsity",
        "count",
        "--probe-rate",
        "1e-3",
        "--baseline-rate",
        "3e-3",
    ],
]
LAYERS = {"input": "example", "hidden": "batch"}  # as was the default then
GATES = ("input", "hidden")


@pytest.fixture
def old(tmp_path) -> Path:
    """The folders, moved to where they say that they are."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("config.json", "settings.json"):
        for file in tmp_path.rglob(name):
            file.write_text(file.read_text().replace(MADE_IN, str(tmp_path)))
    return tmp_path


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train(old: Path, gate: str, steps: int, out: str | None = None, *more: str) -> int:
    places = ["--model", old / "bert", "--train", old / "train.txt", "--dev", old / "dev.txt"]
    command = ["train", "texts", *places, "--out", old / (out or gate), "--gate", gate]
    command += ["--layers", LAYERS[gate]]
    return cli.main([*map(str, command), "--steps", str(steps), *ASKED, *more])


def finetune(old: Path, kind: str, out: str) -> int:
    pytest.importorskip("tensorflow_datasets")
    network = {"finetuned": ["--model"], "gru": ["--model", "gru", "--embeddings"]}[kind]
    places = ["--raw-dir", old / "sst", "--data-dir", old / "data", "--out", old / out]
    settings = ["--epochs", 2, "--batch-size", 2]
    return cli.main([*map(str, ["finetune", "sst", *network, old / "bert", *places, *settings])])


# --- runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_a_run_s_settings_are_those_it_was_made_with(old, gate):
    written = json.loads((old / gate / "config.json").read_text())
    assert written.pop("raw_dir") is None and written.pop("data_dir") is None  # another task's
    read = as_dict(run_folder.load_config(old / gate))
    assert written.items() <= read.items()
    assert read.pop("multiplier_start") == 1  # of the authors' players
    assert {read[name] for name in read.keys() - written.keys()} <= {None, "authors", 0.0}


@pytest.mark.parametrize("gate", GATES)
def test_a_probe_says_what_it_said(old, gate):
    expected = lines(old / f"{gate}.jsonl")
    explanations = Explainer.from_pretrained(old / gate)([line["text"] for line in expected])
    for found, said in zip((e.to_dict() for e in explanations), expected, strict=True):
        for name in ("text", "prediction", "gate", "layers", "tokens", "offsets"):
            assert json.loads(json.dumps(found[name])) == said[name]
        for word, old_word in zip(found["words"], said["words"], strict=True):
            assert old_word.items() <= word.items()
        np.testing.assert_allclose(found["keep"], said["keep"], atol=1e-3)
        for label, probability in said["probabilities"].items():
            assert found["probabilities"][label] == pytest.approx(probability, abs=1e-3)


@pytest.mark.parametrize("gate", shown_by(("hidden",), GATES))
def test_a_run_goes_on_where_it_stopped_and_as_it_would_have(old, gate, capsys):
    """From Adam's moments, the multipliers and the slow copy of a checkpoint of that time."""
    expected = lines(old / f"{gate}-16.jsonl")
    assert train(old, gate, steps=16) == 0
    assert f"the run in {old / gate} continues after step 8\n" in capsys.readouterr().err
    assert [scores["step"] for scores in expected] == [4, 8, 12, 16]
    found = lines(old / gate / "validation.jsonl")
    assert [scores["step"] for scores in found] == [4, 8, 12, 16]
    if gate == "hidden":  # the input probe's depths were shuffled over a batch, and go by row now
        # Gates were drawn by batch at that time, and go by text now.
        assert_near([scores_as_then(old / gate)], [expected[-1]])


def scores_as_then(run: Path) -> dict[str, float]:
    """The validation of a run's last probe, of four texts in a batch for each length."""
    config = run_folder.load_config(run)
    model = load_classifier(config.model)
    game = setup.make_game(config, model.network, model.config.width)
    probe, kept = jax.device_put(run_folder.load_probe(run, run_folder.LAST))
    texts = model.encode((run.parent / "dev.txt").read_text().splitlines())
    chosen = [texts[at] for at in np.linspace(0, len(texts) - 1, 4).astype(int)]

    @jax.jit
    def outcome_of(key, inputs):
        return faithfulness.outcome_of(
            game, lambda game, _, votes: sample_gates(game.probe, key, votes),
            model.params, probe, key, faithfulness.Numbered(jnp.arange(4), inputs),
        )  # fmt: skip

    found = []
    for number, batch in enumerate(batches.in_order(chosen, 4, model.config.positions)):
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        found.append((batch.indices, jax.device_get(outcome_of(key, batch.inputs))))
    outcome = batches.put_back(found, faithfulness.along_examples)
    return {**faithfulness.table(outcome)[-1], "step": kept["step"]}


def assert_near(found: list[dict], expected: list[dict]) -> None:
    """The last bits of a sum depend on the processor."""
    for scores, said in zip(found, expected, strict=True):
        assert scores == pytest.approx(said, abs=1e-3)


@pytest.mark.parametrize("gate", GATES)
def test_a_finished_run_is_left_as_it_is(old, gate, capsys):
    before = contents(old / gate)
    assert train(old, gate, steps=8) == 0
    assert capsys.readouterr().err == f"the run in {old / gate} is finished\n"
    assert contents(old / gate) == before


def test_other_settings_are_still_refused(old, capsys):
    assert train(old, "input", 16, None, "--margin", "0.2") == 2
    assert "another configuration (margin 0.1 → 0.2)" in capsys.readouterr().err


# --- fine-tuned models -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["finetuned", "gru"])
def test_a_fine_tuned_model_classifies(old, kind):
    model = load_classifier(old / kind)
    assert model.labels == LABELS
    assert (model.architecture is GRU_CLASSIFIER) == (kind == "gru")
    texts = model.encode(["the film is great fun", "not bad!"])
    logits, _ = jax.jit(model.network.states)(model.params, batches.pad(texts, 16))
    assert logits.shape == (2, len(LABELS)) and np.isfinite(logits).all()
    assert np.ptp(logits) > 1e-3


@pytest.mark.parametrize("kind", ["finetuned", "gru"])
def test_a_finished_fine_tuning_is_left_as_it_is(old, kind, capsys, monkeypatch):
    monkeypatch.setattr(classifier, "play", lambda *_: pytest.fail("trained again"))
    before = contents(old / kind)
    assert finetune(old, kind, kind) == 0
    best = max(lines(old / kind / "finetuning" / "history.jsonl"), key=lambda s: s["macro_f1"])
    written = capsys.readouterr()
    assert written.out.startswith(f"kept epoch {best['epoch']} in {old / kind}: dev accuracy")
    assert contents(old / kind) == before


@pytest.mark.long
@pytest.mark.parametrize("kind", ["finetuned", "gru"])
def test_the_same_seed_is_the_same_fine_tuning(old, kind):
    """The same head, order of texts and dropout."""
    assert finetune(old, kind, "again") == 0
    found, expected = (
        lines(old / folder / "finetuning" / "history.jsonl") for folder in ("again", kind)
    )
    for scores, said in zip(found, expected, strict=True):
        assert scores == pytest.approx(said, rel=1e-4)
