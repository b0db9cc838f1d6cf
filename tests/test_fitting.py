"""A run that was stopped ends as if it had not been; a run that goes wrong says so and stops."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from diffmask_jax import cli, fitting, runs, training
from diffmask_jax.checkpoints import Checkpoints

STEPS, EVERY = 12, 4
# Gates that open and shut within these few steps, and no probe too bad to be kept.
SETTINGS = (
    f"--steps {STEPS} --steps-per-call 2 --validate-every {EVERY} --batch-size 4 --warmup 3 "
    "--probe-rate 0.1 --baseline-rate 1e-3 --margin 0.1 --sparsity log "
    "--tolerance 1e4 --min-agreement 1e-9"
).split()


def command(model: Path, texts: Path, out: Path, gate: str = "input", *more: str) -> list[str]:
    places = ["--model", model, "--train", texts, "--dev", texts, "--out", out]
    return ["train", "texts", *map(str, places), "--gate", gate, *SETTINGS, *more]


@pytest.fixture(scope="module")
def whole(tiny_bert, texts_file, tmp_path_factory):
    """By gate: a run that nobody stopped."""
    folders = {}
    for gate in ("input", "hidden"):
        folders[gate] = tmp_path_factory.mktemp("whole") / gate
        assert cli.main(command(tiny_bert, texts_file, folders[gate], gate)) == 0
    return folders


def final_state(folder: Path) -> list[np.ndarray]:
    """Every array of the last checkpoint, read without the package."""
    place = (folder / "checkpoints" / str(STEPS) / "default").absolute()
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(place).item_metadata.tree
        as_arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return jax.tree.leaves(reader.restore(place, restore_args=as_arrays))


def validations(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ("probe.safetensors", "validation.jsonl"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    states, others = final_state(folder), final_state(other)
    assert len(states) == len(others) > 50
    for array, expected in zip(states, others, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_a_run_trains_validates_and_keeps_the_probe_that_masks_most(whole, gate):
    found = validations(whole[gate])
    assert [scores["step"] for scores in found] == [4, 8, 12]
    assert len({scores["masked"] for scores in found}) > 1
    best = max(found, key=lambda scores: scores["masked"])
    params, kept = runs.load_probe(whole[gate])
    assert kept == best
    assert len(params["gates"]) == 4 and len(params["baselines"]) == {"input": 1, "hidden": 4}[gate]


def test_a_run_made_longer_ends_as_if_it_had_been_asked_so_at_once(
    whole, tiny_bert, texts_file, tmp_path
):
    arguments = command(tiny_bert, texts_file, tmp_path)
    assert cli.main([*arguments, "--steps", "8"]) == 0
    assert cli.main([*arguments, "--steps", str(STEPS)]) == 0
    assert_same_run(tmp_path, whole["input"])
    assert runs.load_config(tmp_path).steps == STEPS
    assert cli.main([*arguments, "--steps", "8"]) == 2  # but not shorter


def test_an_infeasible_probe_is_not_kept(tiny_bert, texts_file, tmp_path, capsys):
    too_strict = ["--tolerance", "1e-9"]
    assert cli.main(command(tiny_bert, texts_file, tmp_path, "input", *too_strict)) == 2
    assert "no validation found a probe with divergence ≤ 1e-09 margins" in capsys.readouterr().err
    assert not (tmp_path / "probe.safetensors").exists()
    assert Checkpoints(tmp_path / "checkpoints").latest() == STEPS


def test_a_run_on_the_treebank_trains_and_is_evaluated_with_its_labels(
    tiny_bert, sentences, tmp_path, capsys
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
    train = ["train", "sst", "--model", tiny_bert, *places, *SETTINGS]
    assert cli.main([*map(str, train)]) == 2
    assert "text 1 of 8" in capsys.readouterr().err
    assert cli.main([*map(str, train), "--truncate"]) == 0
    assert cli.main(["evaluate", str(tmp_path / "run"), "--split", "test"]) == 0
    written = capsys.readouterr().out
    assert "input probe on 8 texts (test)" in written and "macro-F1" in written


# --- stopping and going on -------------------------------------------------------------------


@pytest.mark.parametrize(("gate", "moment"), [("input", 4), ("hidden", 8)])
def test_interrupted_before_a_checkpoint_the_same_command_goes_on(
    whole, tiny_bert, texts_file, tmp_path, capsys, monkeypatch, gate, moment
):
    """At `moment` the validation is written and the probe kept, but the state never saved."""
    save = Checkpoints.save

    def interrupted(self, step, state):
        if step == moment:
            raise KeyboardInterrupt
        save(self, step, state)

    again = command(tiny_bert, texts_file, tmp_path, gate)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupted)
        assert cli.main(again) == 130
    assert capsys.readouterr().err == "diffmask: interrupted\n"
    assert validations(tmp_path)[-1]["step"] == moment

    assert cli.main(again) == 0
    assert capsys.readouterr().err == f"the run in {tmp_path} goes on after step {moment - EVERY}\n"
    assert_same_run(tmp_path, whole[gate])


KILLED = """
import os, signal, sys
from diffmask_jax import cli
from diffmask_jax.checkpoints import Checkpoints

save = Checkpoints.save

def save_and_die(self, step, state):
    save(self, step, state)
    if step == 8:
        os.kill(os.getpid(), signal.SIGKILL)  # while the checkpoint is being written

Checkpoints.save = save_and_die
cli.main(sys.argv[1:])
"""


def test_killed_in_the_middle_of_a_checkpoint_the_same_command_goes_on(
    whole, tiny_bert, texts_file, tmp_path
):
    again = command(tiny_bert, texts_file, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *again], env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert Checkpoints(tmp_path / "checkpoints").latest() in (4, 8)
    assert cli.main(again) == 0
    assert_same_run(tmp_path, whole["input"])


def test_the_command_of_a_finished_run_says_so_and_changes_nothing(
    whole, tiny_bert, texts_file, capsys, monkeypatch
):
    def contents() -> dict[Path, bytes]:
        paths = whole["input"].rglob("*")
        return {path: path.read_bytes() for path in paths if path.is_file()}

    monkeypatch.setattr(training, "steps", lambda *_, **__: pytest.fail("it trains"))
    before = contents()
    assert cli.main(command(tiny_bert, texts_file, whole["input"])) == 0
    assert contents() == before
    written = capsys.readouterr()
    assert written.err == f"the run in {whole['input']} is finished\n"
    _, scores = runs.load_probe(whole["input"])
    assert written.out.startswith(f"kept the probe of step {scores['step']:.0f}: masks ")
    assert f"{scores['masked']:.1%}" in written.out and written.out.count("\n") == 1


# --- numbers that are not finite -------------------------------------------------------------


def test_a_rate_beyond_all_numbers_stops_before_anything_is_kept(
    tiny_bert, texts_file, tmp_path, capsys
):
    again = command(tiny_bert, texts_file, tmp_path, "input", "--probe-rate", "1e38")
    assert cli.main(again) == 2
    written = capsys.readouterr()
    assert written.err.startswith("diffmask: the numbers are not finite at step ")
    assert "lower --probe-rate" in written.err and written.err.count("\n") == 1
    assert Checkpoints(tmp_path / "checkpoints").latest() is None
    assert not (tmp_path / "probe.safetensors").exists()
    assert not (tmp_path / "validation.jsonl").exists()


def test_no_checkpoint_holds_what_is_not_finite(
    tiny_bert, texts_file, tmp_path, capsys, monkeypatch
):
    """The diagnostics of a step are of the state before it: the last update may have spoiled it."""
    play = fitting._play

    def spoil(state):
        return state._replace(probe=jax.tree.map(lambda x: x * jnp.nan, state.probe))

    def spoiling(*arguments):
        for state in play(*arguments):
            yield spoil(state) if state.step >= 8 else state

    monkeypatch.setattr(fitting, "_play", spoiling)
    assert cli.main(command(tiny_bert, texts_file, tmp_path)) == 2
    assert "not finite at step 8" in capsys.readouterr().err
    assert fitting.steps_done(tmp_path) == 4
    assert [scores["step"] for scores in validations(tmp_path)] == [4]
    params, scores = runs.load_probe(tmp_path)
    assert scores["step"] == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
