"""The yardstick of convergence on a tiny BERT: trials that go on where they were, and a report."""

import dataclasses
import json
import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.game.masking import mask_state
from diffmask_jax.game.multipliers import control
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.game.players import Rates, settling
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime import locks
from diffmask_jax.runtime.checkpoints import newest_whole
from diffmask_jax.training.config import run_config
from experiments.convergence import __main__ as convergence
from experiments.convergence import (
    distance,
    exhaustive,
    exhaustive_report,
    landscape,
    report,
    scores,
    trial,
)
from experiments.convergence.exhaustive_report import Played
from experiments.convergence.recipe import PLAYED_BEFORE, RECIPES, RISE, Recipe, players, rising
from experiments.convergence.report import Trial
from experiments.convergence.trial import Mark

EXAMPLES = 128


@pytest.fixture
def study(save_bert, treebank, prepared, tmp_path, monkeypatch):
    """(*recipes, **options): a study of a few steps."""
    pytest.importorskip("tensorflow_datasets")
    from tests.conftest import CONFIG

    model = save_bert(tmp_path / "model", dataclasses.replace(CONFIG, classes=5, blocks=1))
    monkeypatch.setattr(trial, "FIRST_MARK", 64)
    monkeypatch.setattr(trial, "MARKS", 2)
    monkeypatch.setattr(trial, "BATCH", 4)
    small = {name: recipe._replace(batch=8) for name, recipe in RECIPES.items()}
    monkeypatch.setattr(convergence, "RECIPES", small)
    for module in (convergence, scores):
        monkeypatch.setattr(module, "Recipe", lambda: Recipe(batch=8))

    places = {
        "--model": model, "--raw-dir": treebank, "--data-dir": prepared,
        "--out": tmp_path / "report",
    }  # fmt: skip

    def run(*recipes, **changed) -> None:
        options = places | {
            "--examples": EXAMPLES, "--seeds": 1,
            "--reference-examples": EXAMPLES, "--references": 1,
        }  # fmt: skip
        options |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        arguments = [str(part) for option in options.items() for part in option]
        monkeypatch.setattr(
            sys, "argv", ["convergence", *arguments, "--recipes", *(recipes or PLAYED)]
        )
        convergence.main()

    run.places = [str(part) for option in places.items() for part in option]
    return run


PLAYED = ("recipe", PLAYED_BEFORE["hidden"])


@pytest.mark.long
def test_it_reports_what_was_played_and_does_not_play_it_again(study, tmp_path, capsys):
    study()
    out = tmp_path / "report" / "hidden"
    found = json.loads((out / "report.json").read_text())
    assert [claim["id"] for claim in found["claims"]] == ["convergence.hidden.distance"]
    assert set(found["raw"]["trials"]) == set(PLAYED)
    reference, recipe = found["raw"]["references"][0], found["raw"]["trials"]["recipe"][0]
    assert [mark["examples"] for mark in recipe] == [64, EXAMPLES]
    # The same recipe and length, but no trial is the beginning of a reference: another seed.
    assert reference[-1]["distance"] == 0 < recipe[-1]["distance"]
    assert found["raw"]["trials"][PLAYED[1]][0][-1]["distance"] > 0
    for picture in ("recipes", "courses1", "reference0", "recipe/layers"):
        assert (out / f"{picture}.png").read_bytes().startswith(b"\x89PNG")

    kept = {file: file.stat().st_mtime_ns for file in out.rglob("keep-*.npy")}
    study()
    assert {file: file.stat().st_mtime_ns for file in out.rglob("keep-*.npy")} == kept


@pytest.mark.long
def test_a_trial_that_was_stopped_ends_as_one_that_was_not(study, tmp_path, monkeypatch):
    study("recipe", references=0)
    whole = np.load(tmp_path / "report" / "hidden" / "recipe" / "0" / f"keep-{EXAMPLES}.npy")
    original, marks = trial._looking, []

    def stopping(*arguments):
        look = original(*arguments)

        def once(*given):
            if marks:
                raise KeyboardInterrupt
            marks.append(given[1])
            return look(*given)

        return once

    monkeypatch.setattr(trial, "_looking", stopping)
    with pytest.raises(SystemExit):
        study("recipe", references=0, out=tmp_path / "again")
    monkeypatch.setattr(trial, "_looking", original)
    folder = tmp_path / "again" / "hidden" / "recipe" / "0"
    with monkeypatch.context() as patch:  # the last mark is written, and the state is not saved
        patch.setattr(trial.Checkpoints, "save", lambda *_: ())
        study("recipe", references=0, out=tmp_path / "again")
    assert len(trial.marks_in(folder)) == 2
    study("recipe", references=0, out=tmp_path / "again")
    np.testing.assert_array_equal(np.load(folder / f"keep-{EXAMPLES}.npy"), whole)
    assert newest_whole(folder / "checkpoints") == EXAMPLES // 8


@pytest.mark.parametrize("act", ["run", "last_state"])
def test_a_trial_that_another_process_plays_is_left_alone(act, tmp_path, monkeypatch):
    """Whoever opens checkpoints removes those that are being written."""
    monkeypatch.setattr(locks, "WAIT", 1)
    model = SimpleNamespace(network=None, config=SimpleNamespace(width=4))
    monkeypatch.setattr(trial.setup, "make_game", lambda *_: None)
    monkeypatch.setattr(trial, "start", lambda *_: None)
    prepared, config = SimpleNamespace(model=model), SimpleNamespace(margin=0.05, seed=0)
    given = {"run": (None, 10, tmp_path), "last_state": (prepared, tmp_path)}[act]
    with locks.held(tmp_path), pytest.raises(UserError, match="is in use by"):
        getattr(trial, act)(Recipe(), config, *given)
    assert [file.name for file in tmp_path.iterdir()] == []


@pytest.mark.parametrize("option", ["examples", "reference_examples", "seeds"])
def test_nothing_to_play_is_refused_at_once(study, option, tmp_path, capsys):
    with pytest.raises(SystemExit):
        study("recipe", **{option: 0})
    name = option.replace("_", "-")
    assert f"--{name} must be at least 1, not 0" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_distance_is_the_mean_change_of_a_keep_probability():
    one = np.array([[0.0, 1.0, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]])
    other = np.array([[1.0, 1.0, 0.5, 0.0], [1.0, 1.0, 1.0, 0.0]])
    np.testing.assert_allclose(distance.by_layer(one, other), [0.375, 0.25])
    assert distance.mean(one, other) == distance.mean(other, one) == 0.3125


def test_a_claim_holds_where_the_recipe_is_half_as_far_away():
    def ended_at(far: float) -> Trial:
        return Trial([Mark(10, 1.0, [0.5], [0.1], 0.9, [1.0])], [far], [np.nan])

    before = PLAYED_BEFORE["input"]
    for far, holds in ((0.05, True), (0.06, False)):
        trials = {"recipe": [ended_at(far)], before: [ended_at(0.1), ended_at(0.12)]}
        (claim,) = report.claims("input", trials, before)
        assert claim.ours == pytest.approx(far / 0.11) and claim.holds == holds
    assert report.claims("input", {"recipe": [ended_at(0.1)]}, before) == []


def test_seeds_are_compared_by_text_with_two_references():
    """Texts of one and three tokens; seeds differ by 1/2, 1/4 and 1/4, references by 1/8."""
    rng = np.random.default_rng(0)
    keep = rng.random((2, 4)) / 4
    seeds = [report.End(10, keep + shift) for shift in (0, 0.25, 0.5)]
    references = [report.End(100, keep + shift) for shift in (0, 0.125)]
    (claim,) = report.apart_claims("input", seeds, references, [1, 3])
    assert claim.ours == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3 / (1 / 8))
    assert not claim.holds and claim.says.endswith("probes: 2.67 to 2.67") and claim.runs == 3
    found = report.apart({"seeds": seeds, "references": references, "one": seeds[:1]})
    assert list(found) == ["seeds", "references"]
    np.testing.assert_allclose(found["seeds"]["by_layer"], [1 / 3, 1 / 3], rtol=1e-6)
    assert "| references | 100 | 0.125 | 0.125 | 0.125 |" in report.apart_table("WE", found)
    half_way = [references[0], references[1]._replace(examples=50)]
    for fewer in (references[:1], half_way):  # of which one is still being played
        assert report.apart_claims("input", seeds, fewer, [1, 3]) == []


def test_an_interval_of_distances_is_over_texts_and_not_tokens():
    """A hundred texts of two tokens, alike within a text: as wide as of one token each."""
    one, other = np.random.default_rng(0).random((2, 1, 100))
    short = distance.ratio([one, other], [one, 0 * one], [1] * 100)
    doubled = [np.repeat(keep, 2, axis=1) for keep in (one, other)]
    long = distance.ratio(doubled, [doubled[0], 0 * doubled[0]], [2] * 100)
    np.testing.assert_allclose(long, short, rtol=1e-6)
    assert short.low < short.mean < short.high


def test_a_claim_waits_until_all_have_seen_about_as_many_examples():
    before = PLAYED_BEFORE["hidden"]

    def found(*seen: int) -> list[report.Claim]:
        marks = ([Mark(n, 1.0, [0.5], [0.1], 0.9, [1.0])] for n in seen)
        recipe, former = (Trial(mark, [0.1], [np.nan]) for mark in marks)
        return report.claims("hidden", {"recipe": [recipe], before: [former]}, before)

    assert len(found(16_000, 15_872)) == 1 and found(16_000, 8_000) == []


def test_without_a_reference_there_is_neither_a_distance_to_it_nor_a_claim():
    before = PLAYED_BEFORE["hidden"]
    seed = Trial([Mark(10, 1.0, [0.5], [0.1], 0.9, [1.0])], [np.nan], [0.1])
    trials = {"recipe": [seed, seed], before: [seed]}
    assert report.claims("hidden", trials, before) == []
    table = report.recipes_table(trials, 0.05)
    assert "reference" not in table and "nan" not in table
    (mark,) = report.as_raw(trials)["recipe"][0]
    assert mark["distance"] is None and mark["between_seeds"] == 0.1
    known = {"recipe": [seed._replace(distances=[0.2], apart=[np.nan])]}
    assert "| 0.200 | – |" in report.recipes_table(known, 0.05)


def test_seeds_are_compared_with_each_other_where_they_saw_as_many_examples(tmp_path):
    folders = {}
    for name, keep, seen in (("a", 0.0, (10, 20)), ("b", 0.5, (10, 20)), ("c", 1.0, (10,))):
        folders[tmp_path / name] = [Mark(n, 1.0, [0.5], [0.1], 0.9, [1.0]) for n in seen]
        (tmp_path / name).mkdir()
        for n in seen:
            np.save(tmp_path / name / f"keep-{n}.npy", np.full((1, 4), keep))
    first, second, third = report.trials_of(folders, None)
    assert first.far == first.apart == [0.75, 0.5]
    assert second.apart == [0.5, 0.5] and third.apart == [0.75]
    truth = np.full((1, 4), 0.25)
    assert [seed.far[0] for seed in report.trials_of(folders, truth)] == [0.25, 0.25, 0.75]
    (alone,) = report.trials_of({tmp_path / "a": folders[tmp_path / "a"]}, truth)
    assert alone.far == [0.25, 0.25] and np.isnan(alone.apart).all()


def test_a_recipe_that_is_still_played_is_ranked_behind_the_others():
    """And its row compares its seeds where all of them have a mark."""

    def seed(distances, masked):
        examples = [10 * (2**n) for n in range(len(distances))]
        marks = [
            Mark(n, 1.0, [m], [0.1], 0.9, [1.0]) for n, m in zip(examples, masked, strict=True)
        ]
        return Trial(marks, list(distances), [0.0] * len(marks))

    whole = [seed([0.5, 0.4], [0.1, 0.2]), seed([0.5, 0.2], [0.3, 0.4])]
    trials = {"recipe": whole, "adam": [whole[0], seed([0.1], [0.9])]}
    _, _, first, second = report.recipes_table(trials, 0.1).splitlines()
    assert first.startswith("| recipe | 2 | 20 | 0.300 ± 0.141 |")
    assert second.startswith("| adam | 2 | 10 | 0.300 ± 0.283 |") and "50.0%" in second
    assert report.sorted_by_distance(trials) == ["recipe", "adam"]


@pytest.mark.parametrize("margin", [0.05, 0.1, 1.0])
def test_the_recipe_starts_as_a_training_does(margin):
    ours = players(Recipe(), margin, steps=3).multiplier
    assert ours == settling(margin, Rates()).multiplier == pytest.approx(0.2 / margin)


def test_the_recipe_is_what_training_plays():
    config, recipe = run_config("model", "texts", train="train.txt", dev="dev.txt"), Recipe()
    played = (recipe.batch, recipe.layers, recipe.pull)
    assert played == (config.batch_size, config.layers, config.pull)
    theirs = config.probe_rate, config.baseline_rate, config.multiplier_rate, config.warmup
    assert theirs == (recipe.rate, recipe.baseline_rate, recipe.integral, recipe.warmup) == Rates()
    ours, settled = players(recipe, 0.1, steps=50), settling(0.1, Rates())
    probe = {"gates": [{"c": jnp.ones(2)}], "baselines": [jnp.ones(3)]}
    pair = optax.LookaheadParams(probe, jax.tree.map(jnp.copy, probe))
    multipliers = optax.LookaheadParams(jnp.full(2, 5.0), jnp.full(2, 5.0))
    states = [(team.primal.init(pair), team.dual.init(multipliers)) for team in (ours, settled)]
    for number in range(5):  # the same moves, of both players
        gradient = jax.tree.map(lambda a, n=number: a * (n - 1.5), probe)
        moves = []
        for at, team in enumerate((ours, settled)):
            primal, dual = states[at]
            move, primal = team.primal.update(gradient, primal, pair)
            answer, dual = team.dual.update(jnp.array([0.01, -0.02]), dual, multipliers)
            states[at] = primal, dual
            moves.append((move, answer))
        jax.tree.map(np.testing.assert_array_equal, *moves)


def test_a_trial_of_an_older_version_goes_on(study, tmp_path, capsys):
    """Its settings do not say what has become a setting since."""
    study("recipe", references=0)
    folder = tmp_path / "report" / "hidden" / "recipe" / "0"
    settings = json.loads((folder / "settings.json").read_text())
    assert settings.pop("shallow") == 1.0
    (folder / "settings.json").write_text(json.dumps(settings))
    study("recipe", references=0)
    settings["pull"] = 1.0
    (folder / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SystemExit):
        study("recipe", references=0)
    assert "results of another pull 1.0 → 0.003" in capsys.readouterr().err
    settings["pull"] = 0.003
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "marks.json").unlink()
    with pytest.raises(SystemExit):
        study("recipe", references=0)
    assert "without a mark there" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["[{", "{}", '[{"examples": 64}]', "[1]"])
def test_damaged_marks_are_told_in_a_line(damage, tmp_path):
    (tmp_path / "marks.json").write_text(damage)
    with pytest.raises(UserError, match=r"marks\.json"):
        trial.marks_in(tmp_path)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_moves_its_players(name):
    """Both, and φ and b alike; with rates that fall, no longer after the last step."""
    recipe = RECIPES[name]
    team = players(recipe, 0.1, steps=3)
    value = {"gates": [{"c": jnp.ones(2)}], "baselines": [jnp.ones(3)]}
    pair = optax.LookaheadParams(value, jax.tree.map(jnp.copy, value))
    state = team.primal.init(pair)
    moves = []
    for _ in range(4):
        gradient = jax.tree.map(jnp.ones_like, value)
        update, state = team.primal.update(gradient, state, pair)
        pair = optax.apply_updates(pair, update)
        moves.append(max(float(abs(leaf).max()) for leaf in jax.tree.leaves(update.fast)))
    assert moves[1] > 0 and (moves[3] == 0) == (recipe.fall == "cosine")
    multipliers = jnp.full(4, team.multiplier)
    multipliers = optax.LookaheadParams(multipliers, jnp.copy(multipliers))
    ascent, _ = team.dual.update(-jnp.ones(4), team.dual.init(multipliers), multipliers)
    assert (ascent.fast > 0).all()


def test_margins_that_rise_hold_each_layer_to_its_own():
    """λ stands still where D is the margin of its depth, and turns around there; a layer that is
    not played is left alone; in the end it is the plain controller of the whole margin."""
    margin, share = 0.1, np.array([0.25, 0.5, 0.75, 1.0])
    dual, plain = rising(margin, 0.25, control(margin)), control(margin)
    multipliers = optax.LookaheadParams(jnp.full(4, 5.0), jnp.full(4, 5.0))
    start = dual.init(multipliers)

    def moved(divergence: np.ndarray) -> np.ndarray:
        moves, _ = dual.update(jnp.asarray(margin - divergence), start, multipliers)
        return np.asarray(moves.fast)

    np.testing.assert_allclose(moved(share * margin), 0.0, atol=1e-4)
    assert (moved(1.1 * share * margin) > 0.1).all() and (moved(0.9 * share * margin) < -0.1).all()
    unplayed = np.array([margin, 0.02, 0.02, 0.02])
    assert moved(unplayed)[0] == 0 and (moved(unplayed)[1:] != 0).all()

    state, after = start, plain.init(multipliers)
    for _ in range(RISE):
        _, state = dual.update(jnp.zeros(4), state, multipliers)
    gradient = jnp.array([0.05, -0.05, 0.01, -0.01])
    late, _ = dual.update(gradient, state, multipliers)
    whole, _ = plain.update(gradient, after, multipliers)
    np.testing.assert_allclose(late.fast, whole.fast, rtol=1e-5)


@pytest.mark.parametrize("total", [100, 10_000, 16_000, 51_200, 1_024_000])
def test_a_trial_is_measured_at_its_end_and_before_at_marks_that_lie_apart(total):
    marks = np.array(trial.marks_of(total, 32)) * 32
    assert abs(marks[-1] - total) <= 64 and len(marks) <= trial.MARKS
    assert (marks[1:] / marks[:-1] > 0.99 * trial.APART).all()
    assert len(trial.marks_of(16_000, 32)) == 3


# --- every set --------------------------------------------------------------------------------


def test_a_set_is_placed_among_all_sets_of_its_states():
    """Against a loop over all pairs of sets; set 5 = {0, 2} is the third best of three states."""
    divergence = np.array([4.0, 1.0, 3.0, 0.4, 3.0, 0.2, 3.0, 0.0])
    losses = [bin(n).count("1") / 3 + 2 * divergence[n] for n in range(8)]
    found = landscape.place(divergence, 2.0, np.array([True, False, True]))
    assert found.kept == 2 / 3 and found.divergence == 0.2 and found.loss == losses[5]
    assert found.best_kept == 1 and found.best_divergence == 0 and found.best_loss == min(losses)
    good = [n for n in range(8) if losses[n] <= losses[5]]
    assert found.as_good == len(good) == 2 and found.away == 1 / 3
    apart = [bin(a ^ b).count("1") / 3 for a in good for b in good]
    assert found.apart == pytest.approx(np.mean(apart))
    worst = landscape.place(divergence, 2.0, np.zeros(3, bool))
    assert worst.as_good == 8 and worst.apart == pytest.approx(0.5)  # of all sets
    for number, kept in enumerate(landscape.all_sets(5)):
        assert landscape.number_of(kept) == number


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_divergences_of_all_sets_are_those_of_masking_by_them_one_by_one(
    layer, tiny_bert, sentences
):
    model = load_classifier(tiny_bert)
    network, params = model.network, model.params
    (text,) = model.encode([sentences[0]])
    states = len(text.ids)
    inputs = jax.tree.map(jnp.asarray, batches.pad([text], states + 2))
    clean = clean_pass(network, params, inputs)
    baseline = jnp.full(model.config.width, 0.3)
    found = landscape.divergences(network, params, clean, baseline, layer, states)
    assert len(found) == 2**states
    for number in (0, 1, 2, 5, 2**states - 2, 2**states - 1):
        gate = np.ones((1, states + 2), np.float32)
        gate[0, :states] = [number >> state & 1 for state in range(states)]
        masked = mask_state(clean.states[layer], jnp.asarray(gate), baseline)
        logits = network.logits_from(params, clean.inputs, masked, layer)
        expected = network.family.divergence(clean.logits, logits)
        np.testing.assert_allclose(found[number], expected[0], atol=1e-6)
    assert found[-1] == pytest.approx(0, abs=1e-6) and found.max() > 1e-4


def test_two_probes_are_compared_by_what_they_keep_and_pay():
    """One state more of four is kept by the second, for a tenth of a nat less, at λ = 2."""

    def played(*rows: str) -> Played:
        kept = [np.array([[mark == "1" for mark in row]]) for row in rows]
        return Played(kept, np.array([[0.3 - 0.1 * (row[0] == "1") for row in rows]]))

    found = {"seed 0": played("0001", "0010"), "reference": played("1001", "1001")}
    (pair,) = exhaustive_report.pairs_of(found, np.array([2.0]))
    assert pair.names == ("seed 0", "reference")
    assert pair.differ.mean == pytest.approx((1 / 4 + 3 / 4) / 2)
    assert pair.worse.mean == pytest.approx(-1 / 4 + 2 * 0.1)
    assert np.isnan(exhaustive_report.seeds_apart(found, [0, 1])).all()
    found |= {"seed 1": played("0101", "0010"), "seed 2": played("0001", "1010")}
    found["second reference"] = played("1111", "1111")
    apart = exhaustive_report.seeds_apart(found, [0, 1])
    np.testing.assert_allclose(apart, [[(1 / 4 + 0 + 1 / 4) / 3, (0 + 1 / 4 + 1 / 4) / 3]])


@pytest.mark.long
def test_all_sets_are_tried_at_the_reference_that_was_played(study, tmp_path, monkeypatch, capsys):
    arguments = ["exhaustive", *study.places, "--longest", "8"]

    def run() -> None:
        monkeypatch.setattr(sys, "argv", arguments)
        exhaustive.main()

    with pytest.raises(SystemExit):
        run()
    assert "there is no reference in" in capsys.readouterr().err
    study("recipe", references=2)
    run()
    out = tmp_path / "report" / "hidden" / "exhaustive"
    found = json.loads((out / "report.json").read_text())["raw"]
    names = [tuple(pair["names"]) for pair in found["pairs"]]
    second = "second reference"
    assert names == [("seed 0", "reference"), ("seed 0", second), ("reference", second)]
    loss, best = (np.array(found["layers"][name]["mean"]) for name in ("loss", "best_loss"))
    assert (loss >= best).all() and len(loss) == 3 and found["sentences"] > 0
    assert (out / "exhaustive.png").read_bytes().startswith(b"\x89PNG")
    sets = next(out.glob("*-8/0.npz"))
    written = sets.stat().st_mtime_ns
    run()
    assert sets.stat().st_mtime_ns == written

    def moved(*arguments: Any) -> Any:
        state = last_state(*arguments)
        slow = state.probe.slow
        slow = slow | {"baselines": [baseline + 1 for baseline in slow["baselines"]]}
        return state._replace(probe=state.probe._replace(slow=slow))

    last_state = exhaustive.trial.last_state
    monkeypatch.setattr(exhaustive.trial, "last_state", moved)
    run()  # of a reference that went on: its sets are others
    first, second = (np.load(path)["divergence"] for path in out.glob("*-8/0.npz"))
    assert sets.stat().st_mtime_ns == written and not np.allclose(first, second)


@pytest.mark.long
def test_a_reference_that_keeps_all_changes_no_score(study, tmp_path, monkeypatch, capsys):
    """And one that drops all gives every sentence of a length the same class."""

    def run(*, shift: float) -> dict[str, Any]:
        def shut(*arguments: Any) -> Any:
            state = last_state(*arguments)
            slow = jax.tree.map(jnp.copy, state.probe.slow)
            for gate in slow["gates"]:
                gate["shift"] = gate["shift"] + shift
            return state._replace(probe=state.probe._replace(slow=slow))

        monkeypatch.setattr(scores.trial, "last_state", shut)
        arguments = [*study.places[:-1], str(tmp_path / "report")]
        monkeypatch.setattr(sys, "argv", ["scores", *arguments])
        scores.main()
        found = json.loads((tmp_path / "report" / "scores" / "report.json").read_text())
        return dict(found["raw"]["rows"][0])

    last_state = trial.last_state
    with pytest.raises(SystemExit):
        run(shift=0)
    assert "there is no reference in" in capsys.readouterr().err
    study("recipe", references=1)
    kept = run(shift=20.0)
    assert kept["masked"] == pytest.approx(0, abs=1e-3) and kept["examples"] == EXAMPLES
    for of_split in kept["changes"].values():
        assert of_split["macro_f1"]["change"] == 0 == of_split["accuracy"]["high"]
    for file in (tmp_path / "report" / "scores" / "measured").glob("*/*.npz"):
        file.unlink()
    assert run(shift=-40.0)["masked"] == pytest.approx(1, abs=1e-3)
