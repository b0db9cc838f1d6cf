"""The erasure experiment from end to end on a tiny GRU: it reports, resumes, and refuses."""

import json
import sys
from collections import Counter

import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.models import gru_files
from experiments import erasure, erasure_study, resume

pytest.importorskip("tensorflow_datasets")

METHODS = ("diffmask", "reinforce")
SCORES = ("precision", "recall", "f1", "optimality", "kept", "feasible")
CLAIMS = {
    *(f"table2.{method}.{rule}{name}" for method in METHODS for rule in ("", "best.")
      for name in (*SCORES, "first.precision", "first.recall", "first.f1")),
    "table2.lead", "table2.lead.best", "table2.search_minutes", "table2.diffmask_minutes",
    "table2.brute_force",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_bert, tmp_path_factory):
    """A five-class GRU folder whose output depends on what it reads."""
    folder = tmp_path_factory.mktemp("models") / "gru"
    checkpoint = gru_files.fresh_gru(tiny_bert, "abcde")
    params = {name: {k: 4 * v for k, v in part.items()} for name, part in checkpoint.params.items()}
    gru_files.save_gru(folder, checkpoint._replace(params=params))
    return folder


@pytest.fixture
def experiment(model, treebank, tmp_path, monkeypatch):
    """Run it, a few steps of learning, with options changed; gives the report's folder."""
    settings = {name: s._replace(steps=20) for name, s in erasure.SETTINGS.items()}
    monkeypatch.setattr(erasure, "SETTINGS", settings)
    monkeypatch.setattr(erasure, "CURVE", (5,))
    places = {
        "--model": model, "--raw-dir": treebank, "--data-dir": tmp_path / "data",
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
    assert claims["table2.brute_force"] == 100
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
    with pytest.raises(KeyboardInterrupt):
        experiment()
    before = list(searched)
    searched.clear()
    searched.extend([(0, 0)] * 3)  # no more interruptions
    experiment()
    assert not set(before) & set(searched[3:]) and len(searched) > 3


def test_a_full_disk_leaves_what_was_done(experiment, monkeypatch, capsys):
    write, written = resume.write_atomically, []

    def full(path, data):
        if len(written) == 2:
            raise UserError(f"cannot write {path}: no space left on device")
        write(path, data)
        written.append(path)

    monkeypatch.setattr(resume, "write_atomically", full)
    with pytest.raises(SystemExit) as stopped:
        experiment()
    assert stopped.value.code == 2 and "no space left" in capsys.readouterr().err
    assert all(path.exists() for path in written)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"margin": 0}, "the margin must be positive"),
        ({"longest": 26}, "26 tokens may have to compare 2^26"),
        ({"longest": 2}, "no sentence of dev has at most 2 word pieces"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"baseline": "missing.npy"}, "missing.npy holds no array of numbers"),
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
    assert "is no GRU: make one with `diffmask finetune sst --model gru`" in capsys.readouterr().err


def test_the_estimate_follows_the_growth():
    """Costs that double with every word piece are foreseen exactly."""
    seconds = {length: [0.01 * 2.0**length] * 3 for length in range(4, 10)}
    waiting = Counter({10: 5, 12: 2, 9: 0})
    expected = 5 * 0.01 * 2**10 + 2 * 0.01 * 2**12
    assert erasure_study.estimate(seconds, waiting) == f"about {expected / 60:.0f} min left"
    assert erasure_study.estimate({4: [1.0]}, waiting) == "estimating"
