"""The erasure experiment from end to end on a tiny GRU: it reports, resumes, and refuses."""

import json
import sys
from collections import Counter

import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.models.gru_classifier import fresh_gru
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_encoder
from experiments import erasure_tuning
from experiments.common import resume
from experiments.erasure import __main__ as erasure
from experiments.erasure import study as erasure_study
from experiments.throughput import erasure as throughput_erasure

pytest.importorskip("tensorflow_datasets")

METHODS = ("diffmask", "reinforce")
SCORES = ("precision", "recall", "f1", "optimality", "kept", "feasible")
CLAIMS = {
    *(f"table2.{method}.{rule}{name}" for method in METHODS for rule in ("", "best.")
      for name in (*SCORES, "first.precision", "first.recall", "first.f1")),
    *(f"table2.{name}" for name in ("lead", "lead.best", "accuracy", "certificate", "brute_force",
      "smaller_than_optimum", "search_minutes", "diffmask_minutes")),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_bert, tmp_path_factory):
    """A five-class GRU folder whose output depends on what it reads."""
    folder = tmp_path_factory.mktemp("models") / "gru"
    gru = fresh_gru(load_encoder(tiny_bert, "abcde"), "abcde")
    params = {name: {k: 4 * v for k, v in part.items()} for name, part in gru.params.items()}
    save(folder, gru._replace(params=params))
    return folder


@pytest.fixture
def experiment(model, treebank, prepared, tmp_path, monkeypatch):
    """Run it, a few steps of learning, with options changed; gives the report's folder."""
    for name, steps in (("SETTINGS", 20), ("SHORT", 5)):
        settings = {method: s._replace(steps=steps) for method, s in getattr(erasure, name).items()}
        monkeypatch.setattr(erasure, name, settings)
    places = {
        "--model": model, "--raw-dir": treebank, "--data-dir": prepared,
        "--seeds": 2, "--brute-force": 3, "--longest": 10, "--out": tmp_path / "report",
    }  # fmt: skip

    def run(**changed):
        options = places | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        arguments = [str(part) for option in options.items() for part in option]
        monkeypatch.setattr(sys, "argv", ["erasure", *arguments])
        erasure.main()
        return tmp_path / "report"

    return run


def test_it_reports_every_claim_and_goes_on_where_it_was(experiment):
    out = experiment()
    first = json.loads((out / "report.json").read_text())
    assert {claim["id"] for claim in first["claims"]} == CLAIMS
    claims = {claim["id"]: claim["ours"] for claim in first["claims"]}
    assert claims["table2.brute_force"] == claims["table2.certificate"] == 100
    assert next(c for c in first["claims"] if c["id"] == "table2.brute_force")["holds"]
    assert claims["table2.smaller_than_optimum"] == 0
    assert (out / "sizes.png").read_bytes().startswith(b"\x89PNG")
    sizes = {sentence["size"] for sentence in first["raw"]["sentences"]}
    assert len(sizes) > 1

    kept = sorted(out.rglob("*.npz"))
    times = [file.stat().st_mtime_ns for file in kept]
    kept[0].unlink()  # as if it had been stopped before
    experiment()
    second = json.loads((out / "report.json").read_text())
    timeless = [claim for claim in CLAIMS if not claim.endswith("minutes")]
    again = {claim["id"]: claim["ours"] for claim in second["claims"]}
    assert [again[name] for name in timeless] == [claims[name] for name in timeless]
    assert [file.stat().st_mtime_ns for file in kept][1:] == times[1:]


def test_a_search_that_was_interrupted_goes_on_behind_what_is_done(experiment, monkeypatch):
    searched, whole = [], erasure_study.exact_search

    def interrupted(params, tokens, *arguments, **options):
        if len(searched) == 2:
            raise KeyboardInterrupt
        searched.append(tokens.shape)
        return whole(params, tokens, *arguments, **options)

    monkeypatch.setattr(erasure_study, "exact_search", interrupted)
    with pytest.raises(SystemExit) as stopped:
        experiment()
    assert stopped.value.code == 130
    before = list(searched)
    searched.clear()
    searched.extend([(0, 0)] * 3)  # no more interruptions
    experiment()
    assert not set(before) & set(searched[3:]) and len(searched) > 3


def test_a_full_disk_leaves_what_was_done(experiment, monkeypatch, capsys):
    write, written = resume.write_atomically, []

    def full(path, data):
        if len(written) == 1:
            raise UserError(f"cannot write {path}: no space left on device")
        write(path, data)
        written.append(path)

    monkeypatch.setattr(resume, "write_atomically", full)
    with pytest.raises(SystemExit) as stopped:
        experiment()
    assert stopped.value.code == 2 and "no space left" in capsys.readouterr().err
    times = [path.stat().st_mtime_ns for path in written]
    monkeypatch.setattr(resume, "write_atomically", write)
    assert (experiment() / "report.json").exists()
    assert [path.stat().st_mtime_ns for path in written[: len(times)]] == times


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"margin": 0}, "the margin must be positive"),
        ({"longest": 26}, "26 tokens may have to compare 2^26 subsets"),
        ({"longest": 2}, "no sentence of dev has at most 2 word pieces"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"sentences": -5}, "--sentences must be at least 1"),
        ({"baseline": "missing.npy"}, "missing.npy is not an array of numbers"),
    ],
)
def test_what_cannot_be_searched_is_refused(experiment, capsys, changed, message):
    with pytest.raises(SystemExit) as stopped:
        experiment(**changed)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_baseline_of_another_width_is_refused(experiment, tmp_path, capsys):
    np.save(tmp_path / "b.npy", np.ones(9))
    with pytest.raises(SystemExit):
        experiment(baseline=tmp_path / "b.npy")
    assert "baseline must be 16 finite numbers" in capsys.readouterr().err


def test_results_of_another_margin_are_not_taken(experiment, capsys):
    experiment()
    with pytest.raises(SystemExit):
        experiment(margin=0.1)
    assert "margin 0.05 → 0.1: choose another --out" in capsys.readouterr().err


def test_a_bert_is_refused(experiment, tiny_bert, capsys):
    with pytest.raises(SystemExit):
        experiment(model=tiny_bert)
    assert (
        "is not a GRU: make one with `diffmask finetune sst --model gru`" in capsys.readouterr().err
    )


def test_learning_plays_at_the_margin_that_is_asked_for(experiment, monkeypatch):
    played, whole = [], erasure.learn

    def learn(study, method, settings, seed):
        played.append(settings.margin / study.margin)
        return whole(study, method, settings, seed)

    monkeypatch.setattr(erasure, "learn", learn)
    experiment(margin=0.3, seeds=1)
    np.testing.assert_allclose(played, erasure.TIGHTER)


@pytest.mark.long
def test_tuning_adds_the_rows_of_every_call(
    experiment, model, treebank, prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(erasure_tuning, "SENTENCES", 4)
    monkeypatch.setattr(erasure_tuning, "LONGEST", 8)
    out = tmp_path / "tuned"
    places = ["--model", model, "--raw-dir", treebank, "--data-dir", prepared]
    for steps in (2, 3):
        grid = ["--steps", steps, "--rates", 0.1, "--multiplier-rates", 0.2, "--out", out]
        monkeypatch.setattr(sys, "argv", ["erasure_tuning", *map(str, [*places, *grid])])
        erasure_tuning.main()
    rows = json.loads((out / "tuning.json").read_text())
    assert [(row["method"], row["steps"]) for row in rows.values()] == [
        ("diffmask", 2), ("reinforce", 2), ("diffmask", 3), ("reinforce", 3),
    ]  # fmt: skip
    assert all(set(row["threshold"]) == set(SCORES) for row in rows.values())


@pytest.mark.long  # attribution/test_prefix_search.py compares the same two
def test_the_benchmark_reports_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(throughput_erasure, "LENGTHS", (4, 6))
    throughput_erasure.run(tmp_path, rounds=2)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [claim["id"] for claim in report["claims"]] == ["erasure.tree_over_plain"]
    assert all(row["largest_difference"] < 1e-5 for row in report["raw"]["rows"])


# Seconds a sentence and sentences, by word pieces, of the search over SST's development set.
MEASURED = {
    4: (1.37, 2), 6: (0.41, 6), 8: (0.11, 22), 9: (0.1, 16), 10: (0.13, 26), 11: (0.13, 19),
    12: (0.09, 32), 13: (0.17, 25), 14: (0.18, 32), 15: (0.26, 33), 16: (0.44, 33), 17: (0.61, 28),
    18: (1.13, 43), 19: (1.39, 36), 20: (1.76, 46), 21: (1.71, 37), 22: (2.27, 36), 23: (4.0, 32),
    24: (9.88, 40), 25: (1.96, 43),
}  # fmt: skip


@pytest.mark.parametrize("last", range(14, 23))
def test_the_estimate_is_honest(last):
    """On the real search, from 14 word pieces on, it is off by less than a factor of 1.6."""
    seconds = {n: [cost] * number for n, (cost, number) in MEASURED.items() if n <= last}
    waiting = Counter({n: number for n, (_, number) in MEASURED.items() if n > last})
    truth = sum(cost * number for n, (cost, number) in MEASURED.items() if n > last) / 60
    said = erasure_study.estimate(seconds, waiting)
    assert said.endswith(" min left")
    assert truth / 1.6 < float(said.split()[1]) < truth * 1.6


def test_nothing_is_estimated_from_short_sentences():
    assert erasure_study.estimate({4: [1.0], 8: [0.1]}, Counter({25: 40})) == "estimating"
