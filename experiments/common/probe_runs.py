"""The runs of an experiment: several seeds of the probe of each gate, on texts prepared once."""

import zlib
from pathlib import Path
from typing import Any

from diffmask_jax.game.gates import GATES
from diffmask_jax.training import clean_states, run_folder
from diffmask_jax.training.config import RunConfig, run_config
from diffmask_jax.training.train import Prepared


def folder_of(out: Path, gate: str, seed: int) -> Path:
    """The folder of the run of a seed."""
    return out / "runs" / f"{gate}-{seed}"


def step_of(folder: Path) -> int:
    """The step of the probe that a run keeps."""
    return int(run_folder.load_probe(folder)[1]["step"])


def measured_at(place: Path, folder: Path) -> Path:
    """Where in `place` the measurements of a run are kept: by its name, its probe's step, and the
    probe itself, since a run that was begun anew may come to the same step."""
    digest = zlib.crc32((folder / run_folder.PROBE).read_bytes())
    return place / f"{folder.name}-{step_of(folder)}-{digest:08x}"


def configurations(
    model: str,
    task: str,
    places: dict[str, Any],
    settings: dict[str, dict[str, Any]],
    seeds: int,
    out: Path,
) -> dict[Path, RunConfig]:
    """Every run of an experiment by its folder. settings: those of each gate."""
    return {
        folder_of(out, gate, seed): run_config(
            model, task, **places, gate=gate, seed=seed, **settings[gate]
        )
        for gate in GATES
        for seed in range(seeds)
    }


def with_passes(prepared: Prepared) -> Prepared:
    """The same model and texts, with the clean states of the training texts for all runs."""
    model, train = prepared.model, prepared.texts.train
    passes = clean_states.compute(model.network, model.params, train, model.config.positions)
    return prepared._replace(passes=passes)
