"""Which probe a run keeps, and whether it has come to its end."""

from collections.abc import Sequence
from pathlib import Path

import jax

from diffmask_jax.game.steps import TrainState
from diffmask_jax.training import run_folder, settled
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.settled import Curves


def keep(config: RunConfig, folder: Path, state: TrainState, scores: dict[str, float]) -> None:
    """Keep the probe; the authors' only if it is feasible and masks more than the one kept so far.

    Ours is an average that settles: the last one is the one to have.
    """
    best = kept_scores(folder)
    feasible = (
        scores["divergence"] <= config.tolerance * config.margin
        and scores["agreement"] >= config.min_agreement
    )
    better = feasible and (best is None or scores["masked"] > best["masked"])
    if config.setting == "settling" or better:
        params = jax.device_get(state.probe.slow)
        run_folder.save_probe(folder, params, {**scores, "step": int(state.step)})


def kept_scores(folder: Path) -> dict[str, float] | None:
    """The validation scores of the probe kept so far; None if there is none."""
    return run_folder.load_probe(folder)[1] if (folder / "probe.safetensors").exists() else None


def keep_verdict(
    config: RunConfig, folder: Path, layers: Sequence[str], step: int, curves: Curves
) -> str:
    """Keep in `layers.json` which layers have settled by a step; gives it as a line."""
    verdict = settled.verdict_on(curves, config.margin)
    rows = settled.as_rows(verdict, layers)
    run_folder.save_layers(folder, step, bool(verdict.settled.all()), rows)
    return settled.told(verdict, layers, config.margin)
