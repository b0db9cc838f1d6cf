"""The erasure experiment from end to end on a tiny GRU: it reports, resumes, and refuses."""

import json
import sys
from collections import Counter

import numpy as np
import pytest

from diffmask_jax.attribution.prefix_search import Optima
from diffmask_jax.errors import UserError
from diffmask_jax.models.gru_classifier import fresh_gru
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_encoder
from experiments import erasure_tuning
from experiments.common import resume
from experiments.erasure import __main__ as erasure
from experiments.erasure import claims as erasure_claims
from experiments.erasure import study as erasure_study
from experiments.erasure.brute_force import Agreement
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


# --- verdicts --------------------------------------------------------------------------------

# The paper's Table 2, in percent.
PAPER = {
    "diffmask": {
        "precision": 81.26, "recall": 85.89, "f1": 80.75, "optimality": 32.67, "kept": 30.58,
    },
    "reinforce": {
        "precision": 74.69, "recall": 80.82, "f1": 73.57, "optimality": 8.83, "kept": 33.13,
    },
}  # fmt: skip
COMPARED = ("precision", "recall", "f1", "optimality")
FIRST = ("first.precision", "first.recall", "first.f1")


def scored(method, beside=0.0, **others):
    """The scores of two sentences: on average so far beside the paper's, or as others are given."""
    paper = {name: PAPER[method].get(name.removeprefix("first."), 80) for name in (*SCORES, *FIRST)}
    means = {name: value + beside for name, value in paper.items()} | others
    return {name: np.array([mean - 10, mean + 10]) / 100 for name, mean in means.items()}


def by_id(claims):
    return {claim.id: claim for claim in claims}


@pytest.mark.parametrize(("beside", "holds"), [(0.01, True), (-0.01, False)])
def test_diffmasks_scores_are_at_least_the_papers_and_all_others_are_given(beside, holds):
    runs = {
        method: {
            "threshold": [scored(method, beside + apart) for apart in (-4, 4)],
            "best": [scored(method, -beside)],
        }
        for method in METHODS
    }
    claims = by_id(erasure_claims.make_claims(runs))
    for name in (*SCORES, *FIRST):
        short = name.removeprefix("first.")
        for method in METHODS:
            one, best = (claims[f"table2.{method}.{rule}{name}"] for rule in ("", "best."))
            paper = PAPER[method].get(short)
            assert one.paper == best.paper == paper and (one.runs, best.runs) == (2, 1)
            assert one.ours == pytest.approx((paper or 80) + beside)
            compared = method == "diffmask" and short in COMPARED
            assert (one.holds, best.holds) == ((holds, not holds) if compared else (None, None))


def test_the_lead_is_diffmasks_over_reinforces_by_each_rule():
    def leads(ours, theirs, **best):
        runs = {
            method: {
                "threshold": [scored(method, f1=f1) for f1 in seeds],
                "best": [scored(method, f1=best[method])],
            }
            for method, seeds in zip(METHODS, (ours, theirs), strict=True)
        }
        claims = by_id(erasure_claims.make_claims(runs))
        return claims["table2.lead"], claims["table2.lead.best"]

    lead, best = leads((80, 82), (74, 73.99), diffmask=90, reinforce=80)
    assert lead.holds is True and lead.ours == pytest.approx(7.005) and lead.runs == 2
    assert lead.spread == pytest.approx(np.std([6, 8.01], ddof=1)), "seeds stand side by side"
    assert lead.paper == pytest.approx(80.75 - 73.57)
    assert best.holds is True and best.ours == pytest.approx(10)
    lead, best = leads((80, 82), (74, 74.01), diffmask=80, reinforce=90)
    assert lead.holds is False and best.holds is False and best.ours == pytest.approx(-10)


def of_search(covered=7, size=2, feasible=True, **agreement):
    """The verdicts on a search of two sentences of three word pieces; the second is as told."""
    kept = np.array([[[True, False, False]], [[False, True, True]]])
    optima = [Optima(one, np.zeros(1), n) for one, n in zip(kept, (4, covered), strict=True)]
    usual = {"size": np.array([1, 2]), "feasible": np.array([True, True])}
    other = {"size": np.array([1, size]), "feasible": np.array([True, feasible])}
    runs = {"diffmask": {"threshold": [usual]}, "reinforce": {"best": [usual, other]}}
    agreed = dict.fromkeys(("sentences", "same_size", "same_number", "same_set", "same"), 2)
    agreed |= agreement
    claims = erasure_claims.search_claims(optima, runs, Agreement(**agreed, differing=[]))
    return {claim.id.removeprefix("table2."): claim for claim in claims}


def test_a_search_is_whole_if_every_subset_up_to_every_optimum_was_looked_at():
    assert all(claim.holds is True for claim in of_search().values())
    assert of_search()["certificate"].ours == 100
    one = of_search(covered=6)["certificate"]
    assert one.holds is False and one.ours == 50


def test_brute_force_must_agree_in_everything_at_once():
    one = of_search(same_size=1, same_number=1, same=0)["brute_force"]
    assert one.holds is False and one.ours == 0
    none = dict.fromkeys(("sentences", "same_size", "same_number", "same_set", "same"), 0)
    assert of_search(**none)["brute_force"].holds is None


@pytest.mark.parametrize(("size", "feasible", "sets"), [(1, True, 1), (1, False, 0), (2, True, 0)])
def test_only_a_set_that_is_feasible_and_smaller_speaks_against_the_search(size, feasible, sets):
    one = of_search(size=size, feasible=feasible)["smaller_than_optimum"]
    assert one.ours == sets and one.holds is (sets == 0)


def test_accuracy_and_times_are_within_their_bounds():
    def verdicts(*told):
        return [claim.holds for claim in erasure_claims.other_claims(*told)]

    assert verdicts(0.37, 3600, [0, 600]) == [True, True, True]
    assert verdicts(0.369, 3601, [0, 601]) == [False, False, False]
