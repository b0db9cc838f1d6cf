"""Starts a training or a fine-tuning again and again, kills it at random, and lets it end.

Run by test_killing.py, in a process of its own: it imports everything once and starts no JAX
backend, so that every life is a fork, a process like any other that is spared the imports.

    python kill_at_random.py ENDS SEED FOLDER COMMAND...

ENDS says how the lives end, "start*4 save*2", in an order that SEED draws. FOLDER gets a log a
life, and what is found after each death in lives.jsonl.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax._src.xla_bridge
from safetensors import safe_open

from diffmask_jax import cli
from diffmask_jax.models import loading  # noqa: F401
from diffmask_jax.models.huggingface import saving
from diffmask_jax.models.huggingface.tokenizers import read_tokenizer
from diffmask_jax.runtime import preemption
from diffmask_jax.training import classifier_calls
from diffmask_jax.training.run_log import RunLog

PACE = 0.1  # seconds a call takes while there are deaths to come, so that they come in time
PATIENCE = 600
LONG = 12  # calls in which a fine-tuning should have saved a model


def fork(command: list[str], log: Path, hurry: bool) -> int:
    """A process that runs the command; without hurry it takes its time and saves often."""
    log.touch()  # which the process may not live to do
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and
    signal.signal(signal.SIGINT, signal.default_int_handler)  # scripts, for what is in background
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if not hurry:
        RunLog.training = slowly(RunLog.training)
        classifier_calls.check_finite = slowly(classifier_calls.check_finite)
        saving._check_same_but_weights = slowly(saving._check_same_but_weights)
        preemption.Watch.notice = often(preemption.Watch.notice)
    code = 1
    try:
        code = cli.main(command)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def slowly(told):
    """What every call is told by, taking its time."""

    def tell(*arguments):
        time.sleep(PACE)
        return told(*arguments)

    return tell


def often(notice):
    """Of every fourth time that a run asks what it is asked, to save; whatever the clock says."""
    times = itertools.count(1)

    def asked(watch):
        save = preemption.Notice.SAVE if next(times) % 4 == 0 else preemption.Notice.NONE
        return max(notice(watch), save)

    return asked


def checkpoints(run: Path) -> list[Path]:
    """Whole and unfinished ones, of a training or a fine-tuning."""
    places = (run, run / "finetuning")
    return [path for place in places for path in place.glob("checkpoints/*")]


def steps_saved(run: Path) -> list[int]:
    """Their numbers, of calls if it is a fine-tuning."""
    return [int(path.name) for path in checkpoints(run) if path.name.isdecimal()]


def is_saving(run: Path) -> bool:
    return any(path.name.endswith(".orbax-checkpoint-tmp") for path in checkpoints(run))


def polls(pid: int, every: float) -> Iterator[None]:
    """Until the process has ended by itself, which it should not."""
    deadline = time.monotonic() + PATIENCE
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        assert time.monotonic() < deadline, "nothing happens"
        yield
        time.sleep(every)


def end(pid: int, how: str, run: Path, rng: random.Random) -> tuple[int, bool]:
    """Wait for the moment and kill: the status, and whether a save was going on."""
    before = max(steps_saved(run), default=0)
    if how == "start":
        time.sleep(rng.uniform(0, 2.5))
    elif how == "save":
        for _ in polls(pid, 0.0005):
            if is_saving(run) and max(steps_saved(run), default=0) > before:  # not an old one's
                break
        time.sleep(rng.uniform(0, 0.02))
    elif how == "model":
        left = set(run.glob(".model.*.tmp"))  # by the life before
        for _ in polls(pid, 0.0005):
            if (
                set(run.glob(".model.*.tmp")) - left
                or max(steps_saved(run), default=0) > before + LONG
            ):
                break
    else:
        for _ in polls(pid, 0.01):
            if max(steps_saved(run), default=0) > before:
                break
        time.sleep(rng.uniform(0, 4 * PACE))
    os.kill(pid, getattr(signal, how, signal.SIGKILL))
    saving = is_saving(run) and how != "start"  # which may see what the life before has left
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), saving


def check_files(run: Path) -> None:
    """What has its final name is whole."""
    for file in (*run.glob("*.json*"), *run.glob("finetuning/*.json*")):
        for text in (
            file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        ):
            json.loads(text)
    for file in run.glob("*.safetensors"):
        with safe_open(file, framework="np") as opened:
            assert all(opened.get_tensor(name) is not None for name in opened.keys())  # noqa: SIM118


def ends_of(told: str) -> list[str]:
    """start: while the program starts; steps: after some; save, model: in the middle of one.

    The others are signals after some steps.
    """
    pairs = [part.split("*") for part in told.split()]
    return [how for how, times in pairs for _ in range(int(times))]


def warm_up(command: Sequence[str]) -> None:
    """Import what the command needs, a tokenizer's modules too."""
    read_tokenizer(Path(command[command.index("--model") + 1]))


def main(ends: str, seed: str, folder: str, *command: str) -> None:
    warm_up(command)
    rng, place = random.Random(seed), Path(folder)
    run = Path(command[command.index("--out") + 1])
    order = ends_of(ends)
    rng.shuffle(order)
    with open(place / "lives.jsonl", "w") as lives:
        for number, how in enumerate([*order, None]):
            newest = max(steps_saved(run), default=0)
            began = time.monotonic()
            pid = fork(list(command), place / f"{number}.log", hurry=not how)
            if how:
                status, saving = end(pid, how, run, rng)
            else:
                status, saving = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), False
            check_files(run)
            life = {"end": how, "newest": newest, "status": status, "saving": saving,
                    "seconds": round(time.monotonic() - began, 1)}  # fmt: skip
            print(json.dumps(life), file=lives, flush=True)
    assert not jax._src.xla_bridge._backends, "a fork of a process with a backend proves nothing"


if __name__ == "__main__":
    main(*sys.argv[1:])
