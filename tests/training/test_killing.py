"""A run that is killed at random moments, over and over, ends bit for bit as if it had not been."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_arrays import arrays_of

from diffmask_jax.runtime.preemption import Notice

SCRIPT = Path(__file__).with_name("kill_at_random.py")
SEED = 1
STEPS = 120
SETTINGS = (
    f"--steps {STEPS} --steps-per-call 2 --validate-every 8 --batch-size 4 --warmup 3 "
    "--probe-rate 0.1 --baseline-rate 1e-3 --margin 0.1 --sparsity log "
    "--tolerance 1e4 --min-agreement 1e-9"
).split()


# How often lives end, and how.
ENDS = {"start": 4, "steps": 2, "save": 4, "SIGTERM": 1}

pytestmark = pytest.mark.long  # test_probe.py shows the same in one process, in a few places


@pytest.fixture(scope="module", params=["hidden", "input"])
def folders(request, tiny_bert, texts_file, child_environment, tmp_path_factory):
    """The folder of a whole run, that of a killed one, and that of its lives' logs."""
    root, gate = tmp_path_factory.mktemp("killing"), request.param
    environment = child_environment(PYTHONWARNINGS="ignore")

    def run(script: list[str], out: Path) -> None:
        places = ["--model", tiny_bert, "--train", texts_file, "--dev", texts_file, "--out", out]
        command = ["train", "texts", *map(str, places), "--gate", gate, *SETTINGS]
        subprocess.run(
            [sys.executable, *script, *command], env=environment, check=True, timeout=600
        )

    whole, killed, lives = root / "whole", root / "killed", root / "lives"
    run(["-m", "diffmask_jax.cli"], whole)
    lives.mkdir()
    told = " ".join(f"{how}*{count}" for how, count in ENDS.items())
    run([str(SCRIPT), told, f"{SEED} {gate}", str(lives)], killed)
    return whole, killed, lives


def lives_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "lives.jsonl").read_text().splitlines()]


def test_a_process_was_killed_as_often_as_it_was_to_be(folders):
    lives = lives_of(folders[2])
    killed = [life for life in lives if life["status"] == -signal.SIGKILL]
    assert len(killed) == sum(ENDS.values()) - ENDS["SIGTERM"], f"seed {SEED}: {lives}"
    assert sum(life["saving"] for life in killed) >= ENDS["save"] // 2, f"seed {SEED}: {lives}"
    places = ENDS["steps"] + ENDS["save"]
    assert len({life["newest"] for life in killed}) > places // 2, f"seed {SEED}: {lives}"
    others = sorted(life["status"] for life in lives if life not in killed)
    assert others == [0, Notice.TERMINATE], f"seed {SEED}: {lives}"


def test_every_life_goes_on_after_the_newest_checkpoint_and_none_complains(folders):
    _, run, logs = folders
    for number, life in enumerate(lives_of(logs)):
        written = (logs / f"{number}.log").read_text()
        assert "Traceback" not in written and "Error" not in written, f"seed {SEED}: {written}"
        for said in re.findall(r"continues after step (\d+)", written):
            assert int(said) == life["newest"], f"seed {SEED}, life {number}: {written}"
        if life["status"] == Notice.TERMINATE:
            stopped = re.findall(r"diffmask: stopped by SIGTERM after step (\d+): run", written)
            after = lives_of(logs)[number + 1]["newest"]
            assert [int(step) for step in stopped] == [after] and after > life["newest"]
    assert not list(run.glob("checkpoints/*damaged*"))


def test_the_run_ends_bit_for_bit_like_one_that_was_left_alone(folders):
    whole, run, _ = folders
    for name in ("probe.safetensors", "validation.jsonl", "config.json"):
        assert (run / name).read_bytes().replace(bytes(run), b"") == (
            whole / name
        ).read_bytes().replace(bytes(whole), b""), f"seed {SEED}: {name}"
    arrays, expected = arrays_of(run, STEPS), arrays_of(whole, STEPS)
    assert len(arrays) == len(expected) > 50
    for ours, theirs in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, f"seed {SEED}")
    assert not [name for name in os.listdir(run) if name.endswith(".tmp")]
