"""A run that was stopped ends as if it had not been; a run that goes wrong says so and stops."""

import functools
import json
import os
import re
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_arrays import arrays_of
from long_set import EITHER_GATE
from tensorboardX.proto import event_pb2

from diffmask_jax import cli
from diffmask_jax.analysis import faithfulness
from diffmask_jax.game import steps
from diffmask_jax.runtime import compilations, preemption
from diffmask_jax.runtime.checkpoints import Checkpoints
from diffmask_jax.runtime.preemption import Notice
from diffmask_jax.training import clean_states, curve_picture, keeping, probe, run_folder, settled
from diffmask_jax.training.config import run_config
from diffmask_jax.training.curve_log import read_curves
from diffmask_jax.training.run_log import RunLog
from diffmask_jax.training.settled import verdict_on

STEPS, EVERY = 12, 4
# Gates that open and shut within these few steps, and no probe too bad to be kept.
SETTINGS = (
    f"--steps {STEPS} --steps-per-call 2 --validate-every {EVERY} --batch-size 4 --warmup 3 "
    "--probe-rate 0.1 --baseline-rate 1e-3 --margin 0.1 --sparsity log "
    "--tolerance 1e4 --min-agreement 1e-9"
).split()
AUTHORS = ("--setting", "authors", "--layers", "batch", "--pull", "0", "--multiplier-rate", "0.3")


def command(model: Path, texts: Path, out: Path, gate: str = "input", *more: str) -> list[str]:
    places = ["--model", model, "--train", texts, "--dev", texts, "--out", out]
    return ["train", "texts", *map(str, places), "--gate", gate, *SETTINGS, *more]


@pytest.fixture(scope="module")
def whole(shallow_bert, texts_file, tmp_path_factory):
    """(gate) -> a run that nobody stopped; the input probe's is there before a test begins."""

    @functools.cache
    def of(gate: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / gate
        assert cli.main(command(shallow_bert, texts_file, folder, gate)) == 0
        return folder

    of("input")
    return of


def validations(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ("probe.safetensors", "validation.jsonl", "curves.jsonl", "layers.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    states, others = arrays_of(folder, STEPS), arrays_of(other, STEPS)
    assert len(states) == len(others) > 50
    for array, expected in zip(states, others, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", EITHER_GATE)
def test_a_run_trains_validates_and_keeps_its_last_probe(whole, gate):
    found = validations(whole(gate))
    assert [scores["step"] for scores in found] == [4, 8, 12]
    params, kept = run_folder.load_probe(whole(gate))
    assert kept == found[-1]
    validated = run_folder.load_validated(whole(gate))
    assert validated.layers == ("W", "E", "1")
    for name in ("masked", "divergence", "agreement"):
        assert getattr(validated, name).mean() == pytest.approx(kept[name])
    assert len(params["gates"]) == 3 and len(params["baselines"]) == {"input": 1, "hidden": 3}[gate]


def test_the_authors_keep_the_probe_that_masks_most(shallow_bert, texts_file, tmp_path, capsys):
    assert cli.main(command(shallow_bert, texts_file, tmp_path, "hidden", *AUTHORS)) == 0
    written = capsys.readouterr()
    assert "  ? its training did not record whether it had settled" in written.out.splitlines()
    opening, compiling, *_ = written.err.splitlines()
    assert opening == (
        f"training the hidden probe on {shallow_bert.name} (bert, 3 layers): 8 texts, "
        f"{STEPS} steps of 4, margin 0.1 nats, {run_folder.counted(['cpu'])}"
    )
    assert compiling.startswith("compiling the model")
    assert "warning: each of 3 layers plays in only 4.0 of the 12 steps" in written.err
    assert "compiling the steps for texts of up to 16 tokens\n" in written.err
    found = validations(tmp_path)
    assert len({scores["masked"] for scores in found}) > 1
    assert run_folder.load_probe(tmp_path)[1] == max(found, key=lambda scores: scores["masked"])
    assert not (tmp_path / "layers.json").exists()


def test_a_run_says_of_every_layer_whether_it_has_settled(whole):
    told = json.loads((whole("input") / "layers.json").read_text())
    assert told["step"] == STEPS and not told["settled"]
    assert [row["layer"] for row in told["layers"]] == ["W", "E", "1"]
    steps_of, curves = read_curves(whole("input"))
    assert steps_of.tolist() == list(range(2, STEPS + 1, 2))
    assert curves.masked.shape == (STEPS // 2, 3)
    np.testing.assert_allclose(curves.played, [[0.5, 0.25, 0.25]] * (STEPS // 2))
    assert told["layers"][0]["multiplier"] == pytest.approx(curves.multiplier[-2:, 0].mean(), 1e-4)


def test_a_run_ends_by_itself_once_all_layers_have_settled(
    shallow_bert, texts_file, tmp_path, monkeypatch, capsys
):
    def at_once(curves, margin):
        verdict = verdict_on(curves, margin)
        return verdict._replace(still=verdict.still | True, on_margin=verdict.on_margin | True)

    monkeypatch.setattr(settled, "verdict_on", at_once)
    arguments = command(shallow_bert, texts_file, tmp_path)
    assert cli.main(arguments) == 0
    assert [scores["step"] for scores in validations(tmp_path)] == [EVERY]
    told = capsys.readouterr().out
    assert "settled at every layer" in told and f"kept the probe of step {EVERY}" in told
    before = (tmp_path / "probe.safetensors").read_bytes()
    assert cli.main(arguments) == 0  # it is finished, and left as it is
    finished = f"is finished: it had settled at every layer at step {EVERY}\n"
    assert capsys.readouterr().err.endswith(finished)
    assert (tmp_path / "probe.safetensors").read_bytes() == before


@pytest.mark.long
def test_a_run_made_longer_ends_as_if_it_had_been_asked_so_at_once(
    whole, shallow_bert, texts_file, tmp_path
):
    arguments = command(shallow_bert, texts_file, tmp_path)
    assert cli.main([*arguments, "--steps", "8"]) == 0
    assert cli.main([*arguments, "--steps", str(STEPS)]) == 0
    assert_same_run(tmp_path, whole("input"))
    assert run_folder.load_config(tmp_path).steps == STEPS
    assert cli.main([*arguments, "--steps", "8"]) == 2  # but not shorter


def test_a_finished_run_whose_probe_is_gone_makes_it_again(
    whole, shallow_bert, texts_file, tmp_path
):
    """It is in the last checkpoint."""
    run = shutil.copytree(whole("input"), tmp_path / "run")
    (run / "probe.safetensors").unlink()
    assert cli.main(command(shallow_bert, texts_file, run)) == 0
    assert_same_run(run, whole("input"))


def test_a_feasible_probe_that_is_gone_is_not_called_infeasible(tmp_path):
    """Of the authors' game, whose last one may be another."""
    config = run_config("m", "texts", setting="authors", margin=0.1)
    scores = {"step": 3, "masked": 0.5, "divergence": 0.01, "agreement": 1.0}
    (tmp_path / "validation.jsonl").write_text(json.dumps(scores) + "\n")
    assert "probe.safetensors, is missing: restore it" in keeping.none_feasible(config, tmp_path)


@pytest.mark.long
def test_an_infeasible_probe_is_not_kept(shallow_bert, texts_file, tmp_path, capsys):
    too_strict = [*AUTHORS, "--tolerance", "1e-9"]
    assert cli.main(command(shallow_bert, texts_file, tmp_path, "hidden", *too_strict)) == 2
    assert "no validation found a probe with divergence ≤ 1e-10 nats" in capsys.readouterr().err
    assert not (tmp_path / "probe.safetensors").exists()
    assert Checkpoints(tmp_path / "checkpoints").latest() == STEPS


@pytest.mark.long
def test_a_run_on_the_treebank_trains_and_is_evaluated_with_its_labels(
    tiny_gru, sentences, tmp_path, capsys
):
    """And texts that are cut to what the model takes, which is no length of a bucket, fit in."""
    pytest.importorskip("tensorflow_datasets")
    words = [[*text.split(), *["film"] * 20] for text in sentences]
    trees = [
        f"({number % 3} {' '.join(f'(2 {word})' for word in text)})\n"
        for number, text in enumerate(words)
    ]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.txt").write_text("".join(trees))
    places = ["--raw-dir", tmp_path, "--data-dir", tmp_path / "data", "--out", tmp_path / "run"]
    train = ["train", "sst", "--model", tiny_gru, *places, *SETTINGS]
    assert cli.main([*map(str, train)]) == 2
    assert "text 1: the text has" in capsys.readouterr().err
    assert cli.main([*map(str, train), "--truncate"]) == 0
    assert cli.main(["evaluate", str(tmp_path / "run"), "--split", "test"]) == 0
    written = capsys.readouterr().out
    assert "input probe on 8 texts (test)" in written and "macro-F1" in written


# --- stopping and going on -------------------------------------------------------------------


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """(tag, step) -> value, as TensorBoard reads them: a new start purges what it replays."""
    found: dict[tuple[str, int], float] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4
            if event.HasField("session_log"):
                found = {key: value for key, value in found.items() if key[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = value.simple_value
    return found


def stopping(monkeypatch, method: str, moment: int, stop: Callable[[], None]) -> None:
    """Let something happen when the log is told of a step."""
    original = getattr(RunLog, method)

    def stopped(self, step, *arguments):
        if step == moment:
            stop()
        original(self, step, *arguments)

    monkeypatch.setattr(RunLog, method, stopped)


def interrupt() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("gate", "moment"), [("input", 4), pytest.param("hidden", 12, marks=pytest.mark.long)]
)
def test_interrupted_between_a_checkpoint_and_its_validation_the_same_command_goes_on(
    whole, shallow_bert, texts_file, tmp_path, capsys, monkeypatch, gate, moment
):
    """At `moment` the state is saved, which may be the last one, but nothing is said of it."""
    again = command(shallow_bert, texts_file, tmp_path, gate)
    with monkeypatch.context() as patch:
        stopping(patch, "validation", moment, interrupt)
        assert cli.main(again) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "diffmask: interrupted"
    assert probe.steps_done(tmp_path) == moment

    assert cli.main(again) == 0
    told = f"the run in {tmp_path} continues after step {moment}\n"
    assert capsys.readouterr().err.startswith(told)
    assert_same_run(tmp_path, whole(gate))
    assert scalars(tmp_path) == scalars(whole(gate))


@pytest.mark.parametrize("kept", [pytest.param(True, marks=pytest.mark.long), False])
def test_interrupted_around_keeping_a_probe_the_same_command_keeps_it(
    whole, shallow_bert, texts_file, tmp_path, monkeypatch, kept
):
    again = command(shallow_bert, texts_file, tmp_path)
    save_probe = run_folder.save_probe

    def save(*arguments):
        if kept:
            save_probe(*arguments)
        interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "save_probe", save)
        assert cli.main(again) == 130
    assert (tmp_path / "probe.safetensors").exists() == kept
    assert cli.main(again) == 0
    assert_same_run(tmp_path, whole("input"))


def test_damaged_validation_scores_are_told_in_one_line(
    whole, shallow_bert, texts_file, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(whole("input"), run)
    (run / "validation.jsonl").write_text("{\n")
    longer = [*command(shallow_bert, texts_file, run), "--steps", str(STEPS + 2)]
    assert cli.main(longer) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "validation.jsonl is damaged" in error and "delete its broken lines" in error


def test_interrupted_before_the_first_checkpoint_the_same_command_starts_again(
    whole, shallow_bert, texts_file, tmp_path, capsys, monkeypatch
):
    again = command(shallow_bert, texts_file, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", lambda *_: interrupt())
        assert cli.main(again) == 130
    assert cli.main(again) == 0
    assert f"the run in {tmp_path} continues after step 0\n" in capsys.readouterr().err
    assert_same_run(tmp_path, whole("input"))


@pytest.mark.parametrize(
    ("gate", "moment", "told", "step"),
    [
        ("input", 4, "validation", 6),
        pytest.param("input", 2, "training", 4, marks=pytest.mark.long),
        pytest.param("hidden", 4, "training", 4, marks=pytest.mark.long),
    ],
)
def test_sigterm_saves_and_stops_and_the_same_command_goes_on(
    whole, shallow_bert, texts_file, tmp_path, capsys, monkeypatch, gate, moment, told, step
):
    """After the call that runs meanwhile, and without the validation that may be due."""
    again = command(shallow_bert, texts_file, tmp_path, gate)
    with monkeypatch.context() as patch:
        stopping(patch, told, moment, terminate)
        assert cli.main(again) == Notice.TERMINATE
    assert probe.steps_done(tmp_path) == step
    line = f"diffmask: stopped by SIGTERM after step {step}: run the same command to continue\n"
    assert capsys.readouterr().err.endswith(line)
    assert (tmp_path / "validation.jsonl").exists() == (step == 6)

    assert cli.main(again) == 0
    assert f"continues after step {step}\n" in capsys.readouterr().err
    assert_same_run(tmp_path, whole(gate))
    assert scalars(tmp_path) == scalars(whole(gate))


def test_sigterm_during_a_validation_ends_at_once_and_loses_nothing(
    whole, shallow_bert, texts_file, tmp_path, capsys, monkeypatch
):
    """The validation of a large model takes minutes, and its state is saved."""
    again = command(shallow_bert, texts_file, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(faithfulness, "table", lambda _: (terminate(), pytest.fail("validated")))
        assert cli.main(again) == Notice.TERMINATE
    line = "diffmask: stopped by SIGTERM: run the same command to continue\n"
    assert capsys.readouterr().err.endswith(line)
    assert not (tmp_path / "validation.jsonl").exists()
    assert cli.main(again) == 0
    assert f"continues after step {EVERY}\n" in capsys.readouterr().err
    assert_same_run(tmp_path, whole("input"))


def test_sigterm_while_the_last_validation_is_written_is_not_forgotten(
    whole, shallow_bert, texts_file, tmp_path, capsys, monkeypatch
):
    """The run is whole, and what called it, such as an experiment, stops."""
    again = command(shallow_bert, texts_file, tmp_path)
    with monkeypatch.context() as patch:
        stopping(patch, "validation", STEPS, terminate)
        drawn = []
        patch.setattr(curve_picture, "draw", lambda folder, *_: drawn.append(folder))
        assert cli.main(again) == Notice.TERMINATE
    line = f"diffmask: stopped by SIGTERM after step {STEPS}: run the same command to continue\n"
    assert capsys.readouterr().err.endswith(line)
    assert_same_run(tmp_path, whole("input"))
    assert drawn == [tmp_path]
    at = (tmp_path / run_folder.PROBE).stat().st_mtime_ns
    assert cli.main(again) == 0
    assert (tmp_path / run_folder.PROBE).stat().st_mtime_ns == at


def test_sigterm_before_the_first_step_ends_at_once(
    shallow_bert, texts_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(run_folder, "open_run", lambda *_: terminate())
    assert cli.main(command(shallow_bert, texts_file, tmp_path / "run")) == Notice.TERMINATE
    assert (
        capsys.readouterr().err
        == "diffmask: stopped by SIGTERM: run the same command to continue\n"
    )
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.long
def test_saves_by_the_clock_change_nothing(whole, shallow_bert, texts_file, tmp_path, monkeypatch):
    saved = []
    save = Checkpoints.save
    monkeypatch.setattr(preemption, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, step, state: (saved.append(step), save(self, step, state))
    )
    assert cli.main(command(shallow_bert, texts_file, tmp_path)) == 0
    assert saved == [2, 4, 6, 8, 10, 12]
    assert_same_run(tmp_path, whole("input"))
    assert scalars(tmp_path) == scalars(whole("input"))


def test_a_process_killed_while_it_opened_the_run_leaves_no_obstacle(
    whole, shallow_bert, texts_file, tmp_path
):
    shutil.copy(whole("input") / "environment.json", tmp_path)
    (tmp_path / ".config.json.0123abcd.tmp").write_text("{")
    assert cli.main(command(shallow_bert, texts_file, tmp_path)) == 0
    assert_same_run(tmp_path, whole("input"))
    assert not list(tmp_path.glob(".*"))


# --- damage ----------------------------------------------------------------------------------


def damage(folder: Path, step: int) -> None:
    (folder / "checkpoints" / str(step) / "default" / "_METADATA").unlink()


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    whole, shallow_bert, texts_file, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(whole("input"), run)
    damage(run, 12)
    assert cli.main(command(shallow_bert, texts_file, run)) == 0
    told, after, *_ = capsys.readouterr().err.splitlines()
    assert told.startswith(f"the checkpoint {run / 'checkpoints' / '12'} is damaged (")
    assert after == f"the run in {run} continues after step 8"
    assert_same_run(run, whole("input"))
    assert scalars(run) == scalars(whole("input"))


def test_with_damaged_checkpoints_alone_a_run_does_not_begin_anew(
    whole, shallow_bert, texts_file, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(whole("input"), run)
    damage(run, 12)
    damage(run, 8)
    for _ in range(2):
        assert cli.main(command(shallow_bert, texts_file, run)) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"diffmask: no intact checkpoint is left in {run / 'checkpoints'}")
    assert validations(run) == validations(whole("input"))


def test_a_damaged_list_of_validations_is_told(whole, shallow_bert, texts_file, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole("input"), run)
    (run / "validation.jsonl").write_bytes(b"\0\0")
    assert cli.main(command(shallow_bert, texts_file, run)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"diffmask: {run / 'validation.jsonl'} is damaged (")
    assert error.count("\n") == 1


# --- waste -----------------------------------------------------------------------------------


def test_a_warm_run_compiles_nothing(tiny_gru, tmp_path, monkeypatch, capsys):
    """Of two lengths, with validations, checkpoints by the clock, and a trace in between."""
    texts = tmp_path / "texts.txt"
    texts.write_text("the film is great fun\n" * 8 + "not very bad " * 6 + "\n" + "a fun plot " * 6)
    compiled: list[int] = [0]

    def hear(event, *_, **__):
        compiled[-1] += event == compilations.COMPILED

    monkeypatch.setattr(preemption, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(keeping, "keep", lambda *_: compiled.append(0))
    small = "--steps 12 --steps-per-call 1 --validate-every 4 --batch-size 2 --profile"
    small += " --layers batch"
    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        cli.main([*command(tiny_gru, texts, tmp_path / "run"), *small.split()])
    finally:
        jax.monitoring.unregister_event_duration_listener(hear)
    lengths = {
        padding for (tag, _), padding in scalars(tmp_path / "run").items() if "padding" in tag
    }
    assert len(lengths) > 1
    assert compiled[0] > 3 and compiled[1:] == [0, 0, 0]
    printed, told = capsys.readouterr()
    share, programs = re.search(
        r"padding ([\d.]+)% of positions; (\d) programs compiled, 0 after warm-up", printed
    ).groups()
    assert (
        5 < float(share) < 60 and int(programs) >= 2
    )  # two lengths; the validation's may be known
    (trace,) = (tmp_path / "run").rglob("*.xplane.pb")
    assert b"jit_advance" in trace.read_bytes()
    assert f"traced 4 calls into {tmp_path / 'run'}/plugins/profile: open them with xprof" in told


def test_states_beyond_memory_are_refused_before_anything_is_written(
    shallow_bert, texts_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(clean_states, "_free_on_device", lambda: 1000)
    out = tmp_path / "run"
    assert cli.main(command(shallow_bert, texts_file, out, "input", "--cache-states")) == 2
    assert "clean states of 8 texts need 0.0 GiB" in capsys.readouterr().err
    assert not out.exists()


def test_the_command_of_a_finished_run_says_so_and_changes_nothing(
    whole, shallow_bert, texts_file, capsys, monkeypatch
):
    def contents() -> dict[Path, bytes]:
        paths = whole("input").rglob("*")
        return {path: path.read_bytes() for path in paths if path.is_file()}

    monkeypatch.setattr(steps, "steps", lambda *_, **__: pytest.fail("it trains"))
    before = contents()
    assert cli.main(command(shallow_bert, texts_file, whole("input"))) == 0
    assert contents() == before
    written = capsys.readouterr()
    assert written.err == f"the run in {whole('input')} is finished\n"
    _, scores = run_folder.load_probe(whole("input"))
    assert written.out.startswith(f"kept the probe of step {scores['step']:.0f}: masks ")
    kept, verdict, *findings = written.out.splitlines()
    assert f"{scores['masked']:.1%}" in kept and verdict.startswith("the probe is not ")
    assert 4 <= len(findings) <= 5


# --- numbers that are not finite -------------------------------------------------------------


def test_a_rate_beyond_all_numbers_stops_before_anything_is_kept(
    shallow_bert, texts_file, tmp_path, capsys
):
    again = command(shallow_bert, texts_file, tmp_path, "input", "--probe-rate", "1e30")
    assert cli.main(again) == 2
    written = capsys.readouterr()
    last = written.err.splitlines()[-1]
    assert last.startswith("diffmask: the numbers are not finite at step ")
    assert "lower --probe-rate" in last
    assert Checkpoints(tmp_path / "checkpoints").latest() is None
    assert not (tmp_path / "probe.safetensors").exists()
    assert not (tmp_path / "validation.jsonl").exists()


def test_no_checkpoint_holds_what_is_not_finite(
    shallow_bert, texts_file, tmp_path, capsys, monkeypatch
):
    """The diagnostics of a step are of the state before it: the last update may have spoiled it."""
    play = probe.play

    def spoil(state):
        return state._replace(probe=jax.tree.map(lambda x: x * jnp.nan, state.probe))

    def spoiling(*arguments):
        for state, notice in play(*arguments):
            yield (spoil(state) if state.step >= 8 else state), notice

    monkeypatch.setattr(probe, "play", spoiling)
    assert cli.main(command(shallow_bert, texts_file, tmp_path)) == 2
    assert "not finite at step 8" in capsys.readouterr().err
    assert probe.steps_done(tmp_path) == 4
    assert [scores["step"] for scores in validations(tmp_path)] == [4]
    params, scores = run_folder.load_probe(tmp_path)
    assert scores["step"] == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
