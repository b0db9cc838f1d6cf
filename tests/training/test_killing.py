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

from diffmask_jax.runtime import preemption

SCRIPT = Path(__file__).with_name("kill_at_random.py")
SEED = 1
STEPS = 120
SETTINGS = (
    f"--steps {STEPS} --steps-per-call 2 --validate-every 8 --batch-size 4 --warmup 3 "
    "--probe-rate 0.1 --baseline-rate 1e-3 --margin 0.1 --sparsity log "
    "--tolerance 1e4 --min-agreement 1e-9"
).split()
GATES = ("input", "hidden")


@pytest.fixture(scope="module")
def folders(tiny_bert, texts_file, child_environment, tmp_path_factory):
    """By gate: the folder of a whole run, that of a killed one, and that of its lives' logs."""
    root = tmp_path_factory.mktemp("killing")
    environment = child_environment(PYTHONWARNINGS="ignore")

    def start(script: list[str], out: Path, gate: str) -> subprocess.Popen:
        places = ["--model", tiny_bert, "--train", texts_file, "--dev", texts_file, "--out", out]
        command = ["train", "texts", *map(str, places), "--gate", gate, *SETTINGS]
        return subprocess.Popen([sys.executable, *script, *command], env=environment)

    def finish(processes: list[subprocess.Popen]) -> None:
        try:
            assert [process.wait(timeout=400) for process in processes] == [0] * len(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()

    found = {gate: (root / f"{gate}-whole", root / gate, root / f"{gate}-lives") for gate in GATES}
    finish([start(["-m", "diffmask_jax.cli"], found[gate][0], gate) for gate in GATES])
    for gate in GATES:
        found[gate][2].mkdir()
    finish(
        [
            start([str(SCRIPT), f"{SEED} {gate}", str(found[gate][2])], found[gate][1], gate)
            for gate in GATES
        ]
    )
    return found


def lives_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "lives.jsonl").read_text().splitlines()]


def test_a_process_was_killed_twenty_times_and_more(folders):
    lives = [life for gate in GATES for life in lives_of(folders[gate][2])]
    killed = [life for life in lives if life["status"] == -signal.SIGKILL]
    assert len(killed) >= 20, f"seed {SEED}: {lives}"
    assert sum(life["saving"] for life in killed) >= 4, f"seed {SEED}: {lives}"
    assert len({life["newest"] for life in killed}) >= 8, f"seed {SEED}: {lives}"
    others = sorted(life["status"] for life in lives if life not in killed)
    assert others == [0, 0, preemption.STATUS, preemption.STATUS], f"seed {SEED}: {lives}"


@pytest.mark.parametrize("gate", GATES)
def test_every_life_goes_on_after_the_newest_checkpoint_and_none_complains(folders, gate):
    _, run, logs = folders[gate]
    for number, life in enumerate(lives_of(logs)):
        written = (logs / f"{number}.log").read_text()
        assert "Traceback" not in written and "Error" not in written, f"seed {SEED}: {written}"
        for said in re.findall(r"goes on after step (\d+)", written):
            assert int(said) == life["newest"], f"seed {SEED}, life {number}: {written}"
        if life["status"] == preemption.STATUS:
            stopped = re.findall(r"diffmask: stopped by SIGTERM after step (\d+): the", written)
            after = lives_of(logs)[number + 1]["newest"]
            assert [int(step) for step in stopped] == [after] and after > life["newest"]
    assert not list(run.glob("checkpoints/*damaged*"))


@pytest.mark.parametrize("gate", GATES)
def test_the_run_ends_bit_for_bit_like_one_that_was_left_alone(folders, gate):
    whole, run, _ = folders[gate]
    for name in ("probe.safetensors", "validation.jsonl", "config.json"):
        assert (run / name).read_bytes().replace(bytes(run), b"") == (
            whole / name
        ).read_bytes().replace(bytes(whole), b""), f"seed {SEED}: {name}"
    arrays, expected = arrays_of(run, STEPS), arrays_of(whole, STEPS)
    assert len(arrays) == len(expected) > 50
    for ours, theirs in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, f"seed {SEED}")
    assert not [name for name in os.listdir(run) if name.endswith(".tmp")]
