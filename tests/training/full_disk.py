"""Lets everything that writes files write on a full disk: a tmpfs, in a namespace of its own.

Run by test_full_disk.py, in a process of its own:

    unshare -rm python full_disk.py FOLDER MODEL

FOLDER is where the disk is mounted; MODEL is a classifier's folder on another one. A JSON object a
writer is printed: how it ended, what it wrote to standard error, and whether what had been saved
before is still there.
"""

import io
import json
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.heatmap_picture import write_picture
from diffmask_jax.runtime import locks, messages, settings
from diffmask_jax.runtime.checkpoints import Checkpoints
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.training import run_folder
from diffmask_jax.training.curve_log import CurveLog
from diffmask_jax.training.event_log import EventLog
from diffmask_jax.training.progress import Progress
from diffmask_jax.training.run_log import RunLog
from diffmask_jax.training.settled import Curves

LAYERS, ARRAYS = 4, 20
Told = namedtuple("Told", ["loss", *Curves._fields])


def checkpoint(disk: Path, size: int) -> None:
    """Of as many arrays as a probe has: where one cannot be written, others are on their way."""
    rng = np.random.default_rng(size)
    state = {f"{n}": jnp.asarray(rng.normal(size=size // 4 // ARRAYS)) for n in range(ARRAYS)}
    with Checkpoints(disk / "checkpoints") as checkpoints:
        checkpoints.save(1 if size < 10_000 else 2, state)


def checkpoint_is_whole(disk: Path) -> bool:
    with Checkpoints(disk / "checkpoints") as checkpoints:
        return checkpoints.latest() == 1


def curves(disk: Path, size: int) -> None:
    log = CurveLog(disk, 0, writes=True, layers=LAYERS)
    means = dict.fromkeys(Curves._fields, [0.5] * LAYERS)
    for step in range(size // 200):
        log.add(step, means)
    log.close()


def events(disk: Path, size: int) -> None:
    log = EventLog(disk, 0)
    for step in range(size // 30):
        log.scalar("train/loss", 0.5, step)
    log.close()


def log_of_a_run(disk: Path, size: int) -> None:
    """All its files at once, which are closed while one of them cannot be written."""
    told = Told(np.zeros(2), *[np.zeros((2, LAYERS))] * len(Curves._fields))
    with RunLog(disk, 0, LAYERS) as log, Progress(size, 0, 0.1, False) as progress:
        for step in range(size // 200):
            log.training(step, told, np.ones((2, 1, 1), bool), progress)
        log.flush()
        log.validation(step, {"masked": 0.5})


def picture(disk: Path, size: int) -> None:
    if size < 10_000:
        write_atomically(disk / "picture.png", b"whole")
    else:
        words = [f"{number}" for number in range(40)]
        values = np.random.default_rng(0).uniform(size=(LAYERS, len(words)))
        drawn = make_heatmap(title="t", caption="c", tokens=words, rows=list("WE12"), values=values)
        write_picture(drawn, disk / "picture.png")


def probe(disk: Path, size: int) -> None:
    run_folder.save_probe(disk, {"gates": [{"kernel": np.zeros(size // 4, np.float32)}]}, {})


def fill(disk: Path, room: int) -> None:
    with open(disk / "ballast", "wb", buffering=0) as ballast:
        with suppress(OSError):
            while ballast.write(b"x" * 4096):
                pass
        ballast.truncate(ballast.tell() - room)


def main(folder: str, model: str) -> None:
    classifier, disk = load_classifier(model), Path(folder)
    has: Callable[[str], Callable[[Path], bool]] = lambda name: (  # noqa: E731
        lambda disk: (disk / name).stat().st_size > 0
    )
    writers = {
        "checkpoint": (checkpoint, checkpoint_is_whole),
        "curves": (curves, has("curves.jsonl")),
        "TensorBoard": (events, lambda disk: any(disk.glob("events.*"))),
        "log of a run": (log_of_a_run, has("validation.jsonl")),
        "JSON, lines, page": (
            lambda disk, size: write_atomically(disk / "x.jsonl", "x" * size), has("x.jsonl"),
        ),
        "settings": (
            lambda disk, size: settings.write(disk / "x.json", {"x": "x" * size}), has("x.json"),
        ),
        "picture": (picture, has("picture.png")),
        "probe": (probe, has("probe.safetensors")),
        "model": (
            lambda disk, size: save(disk / ("a" if size < 10_000 else "b"), classifier),
            lambda disk: load_classifier(disk / "a").labels == classifier.labels,
        ),
    }  # fmt: skip
    for name, (write, is_whole) in writers.items():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "full", str(disk)], check=True)
        with locks.held(disk):
            write(disk, 2_000)
        fill(disk, room=12_000)
        said, ended = io.StringIO(), "well"
        with redirect_stderr(said):
            try:
                with locks.held(disk):
                    write(disk, 1_000_000)
            except UserError as error:
                messages.say(f"diffmask: {error}")
                ended = "told"
        found = {"writer": name, "ended": ended, "said": said.getvalue(), "whole": is_whole(disk)}
        print(json.dumps(found), flush=True)
        subprocess.run(["umount", "-l", str(disk)], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
