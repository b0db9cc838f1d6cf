"""The runs of an experiment: several seeds of the probe of each gate."""

from pathlib import Path
from typing import Any

from diffmask_jax.game.gates import GATES
from diffmask_jax.training.config import RunConfig, run_config


def run_folder(out: Path, gate: str, seed: int) -> Path:
    """The folder of the run of a seed."""
    return out / "runs" / f"{gate}-{seed}"


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
        run_folder(out, gate, seed): run_config(
            model, task, **places, gate=gate, seed=seed, **settings[gate]
        )
        for gate in GATES
        for seed in range(seeds)
    }
