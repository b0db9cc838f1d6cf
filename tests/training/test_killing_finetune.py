"""A fine-tuning that is killed at random moments ends bit for bit as if it had not been."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from diffmask_jax.runtime.preemption import Notice

SCRIPT = Path(__file__).with_name("kill_at_random.py")
SEED = 1
SETTINGS = "--epochs 16 --batch-size 4 --steps-per-call 1 --encoder-rate 0.003 --head-rate 0.03"
SIGNALS = {
    "SIGTERM": (Notice.TERMINATE, "SIGTERM"),
    "SIGHUP": (Notice.HANGUP, "SIGHUP"),
    "SIGINT": (Notice.INTERRUPT, "Ctrl-C"),
}

# How often, and how: a life each.
ENDS = {"start": 6, "steps": 6, "save": 5, "model": 3, "SIGTERM": 1, "SIGHUP": 1, "SIGINT": 1}

pytestmark = pytest.mark.long  # test_classifier.py shows the same in one process, in a few places


@pytest.fixture(scope="module")
def folders(tiny_bert, sentences, child_environment, tmp_path_factory):
    """The folder of a whole fine-tuning, that of a killed one, and that of its lives' logs."""
    root = tmp_path_factory.mktemp("killing")
    texts = root / "texts.jsonl"
    rows = [{"text": text, "label": str("not" in text)} for text in sentences * 4]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = child_environment(PYTHONWARNINGS="ignore")

    def run(script: list[str], out: Path) -> None:
        places = ["--model", tiny_bert, "--train", texts, "--dev", texts, "--out", out]
        command = ["finetune", "texts", *map(str, places), *SETTINGS.split()]
        subprocess.run([sys.executable, *script, *command], env=environment, check=True)

    whole, killed, lives = root / "whole", root / "killed", root / "lives"
    run(["-m", "diffmask_jax.cli"], whole)
    lives.mkdir()
    told = " ".join(f"{how}*{count}" for how, count in ENDS.items())
    run([str(SCRIPT), told, str(SEED), str(lives)], killed)
    return whole, killed, lives


def lives_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "lives.jsonl").read_text().splitlines()]


def test_a_process_was_killed_as_often_as_it_was_to_be(folders):
    lives = lives_of(folders[2])
    asked = Counter({how: count for how, count in ENDS.items() if how in SIGNALS})
    died = Counter(life["status"] for life in lives)
    assert died[-signal.SIGKILL] == sum(ENDS.values()) - asked.total(), f"seed {SEED}: {lives}"
    for how, count in asked.items():
        assert died[SIGNALS[how][0]] == count, f"seed {SEED}: {lives}"
    assert died[0] == 1 and lives[-1]["status"] == 0


def test_a_signal_says_how_to_go_on_and_loses_nothing(folders):
    """The step that a life says it was saved after is where the next one finds it."""
    lives = lives_of(folders[2])
    for number, life in enumerate(lives):
        written = (folders[2] / f"{number}.log").read_text()
        assert "Traceback" not in written and "Error" not in written, f"seed {SEED}: {written}"
        if life["status"] > 0:
            name = SIGNALS[life["end"]][1]
            said = (
                f"diffmask: stopped by {name}(?: after step ([0-9]+))?: "
                "run the same command to continue"
            )
            (step,) = re.findall(said, written)
            after = lives[number + 1]["newest"]
            assert after >= life["newest"] and step in ("", str(after)), f"seed {SEED}: {lives}"


def test_it_ends_bit_for_bit_like_one_that_was_left_alone_and_leaves_nothing_behind(folders):
    whole, killed, _ = folders

    def files(folder: Path) -> dict[str, bytes]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    assert files(killed) == files(whole), f"seed {SEED}"
    assert not list(killed.rglob(".*")) and not list(killed.rglob("checkpoints"))
    assert not list(killed.parent.glob(".*"))
