"""The one way to train a probe, from Python: a configuration and a folder in, scores out."""

import dataclasses
import functools
import html
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from diffmask_jax import Explainer, cli, run_config, train
from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.training import probe, run_folder, setup
from diffmask_jax.training.train import Prepared, prepare

SETTINGS = {
    "steps": 4, "steps_per_call": 2, "batch_size": 4, "validate_every": 2, "warmup": 1,
    "probe_rate": 0.1, "margin": 1e-3, "tolerance": 1e6, "min_agreement": 1e-9,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_length():
    """The texts padded to 20 word pieces, all that the model takes: one program for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LENGTHS", (20,))
        yield


@pytest.fixture
def config(shallow_bert, texts_file):
    """(changes) -> a small run on the tiny classifier."""

    def configured(**changes):
        places = {"train": str(texts_file), "dev": str(texts_file)}
        return run_config(shallow_bert, "texts", **(places | SETTINGS | changes))

    return configured


@pytest.fixture(scope="module")
def whole(shallow_bert, texts_file, tmp_path_factory):
    """(folder, scores) of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    places = {"train": str(texts_file), "dev": str(texts_file)}
    return folder, train(run_config(shallow_bert, "texts", **places, **SETTINGS), folder)


def files_of(folder) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def assert_same(folder, other) -> None:
    for name in ("probe.safetensors", "validation.jsonl"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def assert_refused(config, folder, says: str, **more) -> None:
    """In one line, before anything is written."""
    with pytest.raises(UserError, match=re.escape(says)) as refusal:
        train(config, folder, **more)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()


# --- what comes out --------------------------------------------------------------------------


def test_the_scores_are_those_of_the_probe_that_is_kept(whole):
    folder, scores = whole
    assert {"step", "masked", "divergence", "agreement"} <= set(scores)
    assert run_folder.load_probe(folder)[1] == scores
    lines = (folder / "validation.jsonl").read_text().splitlines()
    validations = [json.loads(line) for line in lines]
    assert [line["step"] for line in validations] == [2, 4] and scores in validations
    assert Explainer.from_pretrained(folder)("fun").prediction in ("bad", "mixed", "good")


def test_the_kept_probe_has_these_scores(whole, config, texts_file):
    folder, scores = whole
    model, probe = setup.load_model(config()), run_folder.load_probe(folder)[0]
    encoded = model.encode(texts_file.read_text().splitlines())
    game = setup.make_game(config(), model.network, model.config.width)
    evaluate = functools.partial(
        jax.jit(faithfulness.outcome_of, static_argnums=(0, 1)),
        *(game, faithfulness.sampled, model.params, probe),
    )
    stream = batches.in_order(encoded, len(encoded))
    found = faithfulness.table(faithfulness.measure(evaluate, stream, jax.random.key(0)))[-1]
    for name, value in found.items():
        assert scores[name] == pytest.approx(value, rel=1e-4), name


def test_a_finished_run_is_left_as_it_is(whole, config, capsys):
    folder, scores = whole
    before = files_of(folder)
    assert train(config(), folder) == scores
    assert train(config(), str(folder)) == scores  # a folder may be a str
    assert f"the run in {folder} is finished" in capsys.readouterr().err
    assert files_of(folder) == before


@pytest.mark.parametrize("size", [2, 32])
def test_fewer_texts_than_layers_are_too_few_for_any_batch(size, config, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("fun\ndull\n")
    asked = config(train=str(few), batch_size=size)
    says = "2 texts are too few to train on: every step plays each of 3 layers with another text"
    assert_refused(asked, tmp_path / "run", says)


def test_another_configuration_is_refused_and_changes_nothing(whole, config):
    folder, _ = whole
    before = files_of(folder)
    with pytest.raises(UserError, match=r"another configuration .*margin"):
        train(config(margin=0.2), folder)
    assert files_of(folder) == before


def test_a_run_goes_on_where_it_was_left(whole, config, tmp_path, capsys):
    short = config(steps=2)
    train(short, tmp_path)
    assert probe.steps_done(tmp_path) == 2
    assert train(config(), tmp_path) == whole[1]
    assert f"the run in {tmp_path} continues after step 2" in capsys.readouterr().err
    assert_same(tmp_path, whole[0])


# --- shared preparations ---------------------------------------------------------------------


@pytest.mark.long
def test_two_runs_may_share_what_is_prepared(whole, config, tmp_path, monkeypatch):
    """Model and texts are read once, and each run ends as it would alone."""
    other = config(seed=1)
    alone = train(other, tmp_path / "alone")
    shared = prepare(config())
    assert isinstance(shared, Prepared) and shared.passes is None
    monkeypatch.setattr(setup, "load_model", None)
    monkeypatch.setattr(setup, "read_split", None)
    assert train(config(), tmp_path / "first", prepared=shared) == whole[1]
    assert train(other, tmp_path / "second", prepared=shared) == alone
    assert_same(tmp_path / "first", whole[0])
    assert_same(tmp_path / "second", tmp_path / "alone")
    found = [(tmp_path / name / "probe.safetensors").read_bytes() for name in ("first", "second")]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("precision", "bfloat16"), ("remat", True), ("dev", "elsewhere.txt")],
)
def test_what_is_prepared_for_other_texts_or_another_model_is_refused(
    name, value, config, tmp_path
):
    asked = config(**{name: value})
    assert_refused(asked, tmp_path / "run", f"other settings: {name} ", prepared=prepare(config()))


def test_what_is_prepared_for_another_task_is_refused(shallow_bert, texts_file, config, tmp_path):
    places = {"train": str(texts_file), "dev": str(texts_file)}
    asked = run_config(shallow_bert, "questions", **places, **SETTINGS)
    assert_refused(asked, tmp_path / "run", "other settings: task ", prepared=prepare(config()))


def test_a_model_at_hand_is_not_read_again(config, monkeypatch):
    model = setup.load_model(config())
    monkeypatch.setattr(setup, "load_model", None)
    assert prepare(config(), model=model).model is model


@pytest.mark.long
def test_states_in_memory_give_nearly_the_same(whole, config, tmp_path):
    """The same steps from the same states, of another program."""
    scores = train(config(), tmp_path / "run", cache_states=True)
    for name, value in whole[1].items():
        np.testing.assert_allclose(scores[name], value, atol=1e-3)


# --- mistakes --------------------------------------------------------------------------------


def test_mistakes_are_found_before_a_folder_is_made(config, tmp_path, shallow_bert):
    out = tmp_path / "run"
    assert_refused(config(batch_size=9), out, "8 texts do not fill one batch of 9")
    assert_refused(config(accumulate=3), out, "3")
    assert_refused(config(train="no.txt"), out, f"cannot read {Path('no.txt').resolve()}")
    assert_refused(dataclasses.replace(config(), model="a/b/c"), out, "no folder a/b/c")
    (tmp_path / "long.txt").write_text("fun " * 30)
    long = config(dev=str(tmp_path / "long.txt"))
    assert_refused(long, out, "the text has 32 word pieces, but the limit is 20")
    assert [len(text.ids) for text in prepare(long, truncate=True).texts.dev] == [20]
    (tmp_path / "mixed.csv").write_text("text,pair\nfun,\n")
    assert_refused(config(train=str(tmp_path / "mixed.csv")), out, "row 2: the column 'pair' is")


def test_pairs_and_single_texts_are_not_mixed(config, tmp_path):
    """A probe trained on texts and chosen on pairs would be about two kinds of inputs."""
    (tmp_path / "pairs.csv").write_text("text,pair\n" + "fun,dull\n" * 8)
    pairs = str(tmp_path / "pairs.csv")
    assert_refused(config(dev=pairs), tmp_path / "run", "pairs")
    assert_refused(config(train=pairs), tmp_path / "run", "pairs")
    assert prepare(config(train=pairs, dev=pairs)).texts.train[0].parts.max() == 1


def test_no_feasible_probe_is_an_error_with_the_run_kept(config, tmp_path, capsys):
    strict, run = config(setting="authors", tolerance=1e-9), tmp_path / "run"
    with pytest.raises(UserError, match="no validation found a probe with divergence ≤ 1e-12 nats"):
        train(strict, run)
    assert probe.steps_done(run) == 4
    with pytest.raises(UserError, match="no validation found a probe") as refused:
        train(strict, run)

    # It says how near it came, and which options are in the way.
    lines = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    best, last = min(lines, key=lambda line: line["divergence"]), lines[-1]
    for which, line in (("closest", best), ("last", last)):
        told = f"step {line['step']} (divergence {line['divergence']:.3g}, agreement "
        assert re.search(f"{which}[a-z ]*{re.escape(told)}", str(refused.value))
    for option in ("tolerance=1e-09", "margin=0.001", "min_agreement", "(steps)"):
        assert option in str(refused.value)

    # Its last probe explains where that is asked, with a warning in whatever it says.
    with pytest.raises(UserError, match=r"no kept probe yet.*last_probe"):
        Explainer.from_pretrained(run)
    capsys.readouterr()
    files = [tmp_path / f"x.{kind}" for kind in ("html", "jsonl", "png")]
    asked = [part for file in files for part in (f"--{file.suffix[1:]}", str(file))]
    assert cli.main(["explain", str(run), "fun", "--last-probe", *asked]) == 0
    drawn, said = capsys.readouterr()
    warning = f"not to be trusted: explained by the run's last probe, of step {last['step']}"
    texts = [drawn, said, html.unescape(files[0].read_text())]
    assert all(warning in text for text in texts)
    assert json.loads(files[1].read_text())["doubt"].startswith(warning)
    assert warning in Explainer.from_pretrained(run, last_probe=True)("fun").heatmap().caption
