"""Two processes started on one folder, in many orders: one waits, and the work is done once."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffmask_jax.runtime.preemption import Notice

pytestmark = pytest.mark.long  # tests/runtime/test_locks.py shows the lock itself

SCRIPT = Path(__file__).with_name("two_at_once.py")
ORDERS, SEED = 10, 3
SETTINGS = {
    "train": "--steps 24 --steps-per-call 2 --validate-every 8 --batch-size 4 --warmup 3",
    "finetune": "--epochs 2 --batch-size 4 --steps-per-call 1",
}
SAME = {
    "train": ("probe.safetensors", "validation.jsonl", "curves.jsonl", "layers.json"),
    "finetune": ("model.safetensors", "finetuning/history.jsonl", "config.json"),
}


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_nothing_is_lost_or_wrong(command, tiny_bert, sentences, child_environment, tmp_path):
    texts = tmp_path / "texts.jsonl"
    rows = [{"text": text, "label": str("not" in text)} for text in sentences * 6]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    places = ["--model", tiny_bert, "--train", texts, "--dev", texts]
    asked = [command, "texts", *map(str, places), *SETTINGS[command].split()]
    environment = child_environment(PYTHONWARNINGS="ignore")
    whole = tmp_path / "whole"
    alone = [sys.executable, "-m", "diffmask_jax.cli", *asked, "--out", str(whole)]
    subprocess.run(alone, env=environment, check=True)
    told = subprocess.run(
        [sys.executable, SCRIPT, str(ORDERS), str(SEED), tmp_path, *asked],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    print(told)
    died = {None: 0, "SIGKILL": -signal.SIGKILL, "SIGTERM": Notice.TERMINATE}
    waited = 0
    for number, line in enumerate(map(json.loads, told.splitlines())):
        logs = [(tmp_path / f"{number}-{name}.log").read_text() for name in ("first", "second")]
        assert not any("Traceback" in log or "damaged" in log for log in logs), logs
        expected = [0, 0]
        expected[line["which"]] = died[line["killed"]]
        assert line["ends"] in (expected, [0, 0]), (line, logs)
        waited += any(f"is in use by process {pid}" in log for pid in line["pids"] for log in logs)
        for name in SAME[command]:
            ours, theirs = (folder / name for folder in (tmp_path / str(number), whole))
            assert ours.read_bytes() == theirs.read_bytes(), (name, line, logs)
        assert not [path for path in (tmp_path / str(number)).rglob("*tmp*")]
        assert not (tmp_path / str(number) / ".lock").exists()
    assert waited > ORDERS // 2
