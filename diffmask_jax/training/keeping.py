"""Which probe a run keeps after each validation, and what it says of its layers."""

from collections.abc import Sequence
from pathlib import Path

import jax

from diffmask_jax.game.steps import TrainState
from diffmask_jax.training import run_folder, settled
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.settled import Curves


def keep(
    config: RunConfig,
    folder: Path,
    layers: Sequence[str],
    state: TrainState,
    scores: dict[str, float],
    curves: Curves,
) -> str | None:
    """Keep the probe of a validated step if it is the one to have; gives what there is to say.

    Ours is an average that settles: the last one is it, and `layers.json` has which layers have
    settled. The authors' is the feasible one that masks most so far, and says nothing of settling.
    """
    if config.setting == "authors":
        if _is_better(config, scores, kept_scores(folder)):
            _save(folder, state, scores)
        return None
    _save(folder, state, scores)
    verdict = settled.verdict_on(curves, config.margin)
    rows = settled.as_rows(verdict, layers)
    run_folder.save_layers(folder, int(state.step), bool(verdict.settled.all()), rows)
    return settled.told(verdict, layers, config.margin)


def kept_scores(folder: Path) -> dict[str, float] | None:
    """The validation scores of the probe kept so far; None if there is none."""
    return run_folder.load_probe(folder)[1] if (folder / "probe.safetensors").exists() else None


def _save(folder: Path, state: TrainState, scores: dict[str, float]) -> None:
    params = jax.device_get(state.probe.slow)
    run_folder.save_probe(folder, params, {**scores, "step": int(state.step)})


def _is_better(config: RunConfig, scores: dict[str, float], best: dict[str, float] | None) -> bool:
    feasible = (
        scores["divergence"] <= config.tolerance * config.margin
        and scores["agreement"] >= config.min_agreement
    )
    return feasible and (best is None or scores["masked"] > best["masked"])
