"""A run's folder says what was asked, keeps the probe exactly, and refuses what is not its own."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.game import players
from diffmask_jax.game.objective import mean_keep, mean_log_keep
from diffmask_jax.game.players import Rates, authors, settling
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.training import keeping, own_network, run_folder, setup
from diffmask_jax.training.assessment import LayerMeans
from diffmask_jax.training.config import AUTHORS, RunConfig, run_config


def config(**changes) -> RunConfig:
    return run_config(**{"model": "m", "task": "texts", "train": "a", "dev": "b", **changes})


def assert_refused(action, *words: str) -> None:
    """One line that says every one of the words."""
    with pytest.raises(UserError) as refusal:
        action()
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


# --- the configuration -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gate": "output"}, ["gate", "'output'", "input, hidden"]),
        ({"task": "quiz"}, ["task", "'quiz'", "sst, texts, squad, questions"]),
        ({"layers": "all"}, ["layers", "'all'", "example, batch"]),
        ({"sparsity": "l1"}, ["sparsity", "'l1'", "count, log"]),
        ({"steps": 0}, ["steps", "above 0"]),
        ({"margin": float("nan")}, ["margin", "positive"]),
        ({"min_agreement": 90.0}, ["min_agreement", "(0, 1]", "90"]),
        ({"depth": 1}, ["no setting 'depth'", "texts"]),
        ({"raw_dir": "sst"}, ["no setting 'raw_dir'", "texts"]),
    ],
)
def test_a_configuration_that_cannot_be_run_is_refused(changes, words):
    assert_refused(lambda: config(**changes), *words)


def test_the_authors_setting_has_the_authors_defaults_and_leaves_what_is_asked():
    assert config().layers == "example" and config().pull > 0
    theirs = config(setting="authors")
    assert {name: getattr(theirs, name) for name in AUTHORS} == AUTHORS
    assert config(setting="authors", layers="example", warmup=7).layers == "example"
    assert config(setting="authors", warmup=7).warmup == 7


def test_rates_that_stand_twice_are_the_same():
    """In the options, which JAX does not need, and with the players."""
    for rates, start, run in (
        (players.AUTHORS, players.AUTHORS_START, config(setting="authors")),
        (players.Rates(), players.START, config()),
    ):
        theirs = run.probe_rate, run.baseline_rate, run.multiplier_rate, run.warmup
        assert theirs == rates and run.multiplier_start == start
    assert config().pull == own_network.PULL


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_the_game_of_a_run(tiny_bert, gate):
    model = load_classifier(tiny_bert)
    ours = config(gate=gate, layers="batch", margin=0.2)
    game = setup.make_game(ours, model.network, model.config.width)
    assert game.model is model.network and game.margin == 0.2
    assert game.probe.hidden == model.config.width // 4
    assert game.probe.gate.name == gate
    assert game.probe.baselines(4) == (1 if gate == "input" else 4)
    for name, sparsity in (("count", mean_keep), ("log", mean_log_keep)):
        ours = config(gate=gate, sparsity=name, pull=0.25)
        game = setup.make_game(ours, model.network, model.config.width)
        assert game.sparsity is sparsity and game.pull == 0.25


def test_the_players_of_a_run():
    asked = {"probe_rate": 1.0, "baseline_rate": 2.0, "multiplier_rate": 3.0, "warmup": 4}
    for setting, make in (("settling", functools.partial(settling, 0.2)), ("authors", authors)):
        ours = config(setting=setting, margin=0.2, **asked)
        assert setup.rates_of(ours) == Rates(1.0, 2.0, 3.0, 4)
        assert setup.players_of(ours) is make(Rates(1.0, 2.0, 3.0, 4), ours.multiplier_start)
    for start in (0.4, 2.0):  # what is asked for, whatever the players
        ours = config(margin=0.2, multiplier_start=start)
        assert setup.players_of(ours).multiplier == pytest.approx(start / 0.2)
        theirs = config(setting="authors", margin=0.2, multiplier_start=start)
        assert setup.players_of(theirs).multiplier == start


# --- the folder ------------------------------------------------------------------------------


def test_a_new_folder_holds_the_configuration_and_the_environment(tmp_path):
    folder = tmp_path / "new" / "run"
    assert run_folder.open_run(folder, config(seed=3)) is False
    assert run_folder.load_config(folder) == config(seed=3)
    environment = json.loads((folder / "environment.json").read_text())
    assert set(environment) == {"command", "commit", "python", "packages", "devices", "cpus"}
    assert environment["packages"]["jax"] == jax.__version__
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "environment.json"]


def test_the_same_configuration_finds_its_folder_again(tmp_path):
    run_folder.open_run(tmp_path, config())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run_folder.open_run(tmp_path, config()) is True
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_configuration_is_refused_by_naming_what_differs(tmp_path):
    run_folder.open_run(tmp_path, config(seed=1, margin=0.1))
    with pytest.raises(UserError) as refusal:
        run_folder.open_run(tmp_path, config(seed=2, margin=0.3))
    assert "(seed 1 → 2, margin 0.1 → 0.3)" in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert run_folder.load_config(tmp_path) == config(seed=1, margin=0.1)


def test_a_run_goes_on_where_its_model_and_texts_have_moved(tmp_path):
    """They are known by what they are; where they are now is kept."""
    made_with = {"weights": "a", "train texts": "b"}
    run_folder.open_run(tmp_path, config(), made_with)
    moved = dataclasses.replace(
        config(), model="elsewhere", places=dataclasses.replace(config().places, train="/there")
    )
    with pytest.raises(UserError, match="was made with other weights"):
        run_folder.open_run(tmp_path, moved, made_with | {"weights": "c"})
    assert run_folder.load_config(tmp_path) == config()
    assert run_folder.open_run(tmp_path, moved, made_with) is True
    assert run_folder.load_config(tmp_path) == moved
    with pytest.raises(UserError, match=r"another configuration \(seed 0 → 1\)"):
        run_folder.open_run(tmp_path, dataclasses.replace(config(), seed=1), made_with)
    (tmp_path / "fingerprint.json").unlink()  # a run of an older version
    with pytest.raises(UserError, match=r"another configuration \(model 'elsewhere' → "):
        run_folder.open_run(tmp_path, config(), made_with)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    assert_refused(
        lambda: run_folder.open_run(tmp_path, config()), str(tmp_path), "not empty", "another out"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert_refused(
            lambda place=place: run_folder.open_run(place, config()), "cannot make", "file"
        )


def test_a_folder_without_a_run_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        assert_refused(
            lambda folder=folder: run_folder.load_config(folder), str(folder), "config.json"
        )


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[1]", b"3", b"\xff", b"{}", b'{"model": "m", "task": "sst", "depth": 1}',
     b'{"model": "m", "task": "none"}'],
)  # fmt: skip
def test_a_damaged_configuration_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    assert_refused(lambda: run_folder.load_config(tmp_path), str(tmp_path / "config.json"))


# --- its texts -------------------------------------------------------------------------------


def test_the_splits_of_a_run_on_texts(texts_file, sentences):
    ours = config(train=str(texts_file), dev=str(texts_file))
    assert setup.read_split(ours, "dev").texts == list(sentences)
    assert setup.read_split(ours, "train").gold is None
    assert_refused(lambda: setup.read_split(ours, "test"), "no test split", "texts FILE")


@pytest.mark.parametrize("missing", ["train", "dev"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_run_on_texts_needs_both_files(texts_file, missing, split):
    ours = config(**{"train": str(texts_file), "dev": str(texts_file), missing: None})
    assert_refused(lambda: setup.read_split(ours, split), "train FILE", "dev FILE")


# --- the probe -------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_a_probe_comes_back_bit_for_bit(random_probe, tmp_path, gate):
    params = random_probe(gate)
    run_folder.save_probe(tmp_path, params, {"masked": 1 / 3})
    loaded, _ = run_folder.load_probe(tmp_path)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(loaded), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@given(scores=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)))
@example(scores={"validated": 0.5})
def test_scores_come_back_exactly(tmp_path_factory, scores):
    folder = tmp_path_factory.mktemp("run")
    run_folder.save_probe(folder, {"gates": [{"shift": np.ones(1)}]}, scores)
    assert run_folder.load_probe(folder)[1] == scores


def test_its_validation_comes_back_and_what_is_damaged_is_named(tmp_path):
    params, numbers = {"gates": [{"shift": np.ones(1)}]}, [np.array([0.25, 0.5])] * 3
    for validated in (None, LayerMeans(("W", "E"), *numbers)):
        run_folder.save_probe(tmp_path, params, {"masked": 0.5}, validated)
        assert run_folder.load_probe(tmp_path)[1] == {"masked": 0.5}
        found = run_folder.load_validated(tmp_path)
        assert (found is None) == (validated is None)
    assert found.layers == ("W", "E") and [part.tolist() for part in found[1:]] == [[0.25, 0.5]] * 3
    broken = (None, "x"), (["W"], [0.5, 0.5]), (["W"], [[0.5]])
    for names, values in broken:
        told = {"layers": names, **dict.fromkeys(LayerMeans._fields[1:], values)}
        metadata = {"scores": json.dumps({"validated": told})}
        file = tmp_path / "probe.safetensors"
        safetensors.numpy.save_file({"weight": np.ones(2)}, file, metadata=metadata)
        assert_refused(lambda: run_folder.load_validated(tmp_path), str(file), "no validation")


def test_the_same_probe_is_the_same_file(random_probe, tmp_path):
    found = set()
    for _ in range(5):
        run_folder.save_probe(tmp_path, random_probe("input"), {"a": 1.0, "b": 2.0, "c": 3.0})
        found.add((tmp_path / "probe.safetensors").read_bytes())
    assert len(found) == 1


def test_scores_that_a_probe_was_not_kept_for_are_named(tmp_path):
    assert keeping.kept_scores(tmp_path) is None
    scores = dict.fromkeys(keeping.SCORES, 0.5)
    run_folder.save_probe(tmp_path, {"gates": [{"shift": np.ones(1)}]}, scores)
    assert keeping.kept_scores(tmp_path) == scores
    del scores["agreement"]
    run_folder.save_probe(tmp_path, {"gates": [{"shift": np.ones(1)}]}, scores)
    words = "probe.safetensors: its scores", "'agreement' is missing"
    assert_refused(lambda: keeping.kept_scores(tmp_path), *words)


def test_a_run_that_kept_no_probe_says_so(tmp_path):
    assert_refused(lambda: run_folder.load_probe(tmp_path), str(tmp_path), "no kept probe yet")


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_probe_cut_short_is_named(run, tmp_path, kept):
    file = tmp_path / "probe.safetensors"
    file.write_bytes((run / file.name).read_bytes()[:kept])
    assert_refused(lambda: run_folder.load_probe(tmp_path), str(file), "damaged")


def test_another_file_in_the_place_of_the_probe_is_named(tiny_bert, tmp_path):
    file = tmp_path / "probe.safetensors"
    shutil.copy(tiny_bert / "model.safetensors", file)
    assert_refused(lambda: run_folder.load_probe(tmp_path), str(file), "not a probe")
    for metadata in ({"format": "pt"}, {"scores": "{"}, {"scores": "{}"}):
        safetensors.numpy.save_file({"weight": np.ones(2)}, file, metadata=metadata)
        assert_refused(lambda: run_folder.load_probe(tmp_path), str(file), "not a probe")


def test_a_probe_that_cannot_be_written_leaves_the_old_one(random_probe, tmp_path, monkeypatch):
    run_folder.save_probe(tmp_path, random_probe("input"), {"masked": 0.5})
    before = (tmp_path / "probe.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    other = random_probe("hidden")
    assert_refused(
        lambda: run_folder.save_probe(tmp_path, other, {}), "cannot write", "no space left"
    )
    assert (tmp_path / "probe.safetensors").read_bytes() == before
    assert [path.name for path in Path(tmp_path).iterdir()] == ["probe.safetensors"]
