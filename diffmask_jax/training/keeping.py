"""Which probe a run keeps after each validation, and what is to be thought of it."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from diffmask_jax.game.steps import TrainState
from diffmask_jax.training import run_folder, settled
from diffmask_jax.training.assessment import Assessment, assess
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.run_folder import Validated
from diffmask_jax.training.settled import Curves


def keep(
    config: RunConfig,
    folder: Path,
    layers: Sequence[str],
    state: TrainState,
    table: list[dict[str, float]],
    curves: Curves,
) -> str | None:
    """Keep the probe of a validated step if it is the one to have; gives what there is to say.

    Ours is an average that settles: the last one is it, and `layers.json` has which layers have
    settled. The authors' is the feasible one that masks most so far, and says nothing of settling.

    table: of the validation, a row a layer and their mean last
    """
    if config.setting == "authors":
        if _is_better(config, table[-1], kept_scores(folder)):
            _save(folder, layers, state, table)
        return None
    _save(folder, layers, state, table)
    verdict = settled.verdict_on(curves, config.margin)
    rows = settled.as_rows(verdict, layers)
    run_folder.save_layers(folder, int(state.step), bool(verdict.settled.all()), rows)
    return settled.told(verdict, layers, config.margin)


def kept_scores(folder: Path) -> dict[str, float] | None:
    """The validation scores of the probe kept so far; None if there is none."""
    return run_folder.load_probe(folder)[1] if (folder / "probe.safetensors").exists() else None


def assessed(folder: Path) -> Assessment | None:
    """What to think of the probe that a run keeps, by its validation and how its training ended.

    None where the validation of each layer was not kept, as by older versions.

    Raises: UserError if one of the run's files is damaged.
    """
    validated = run_folder.load_validated(folder)
    if validated is None:
        return None
    config, trained = run_folder.load_config(folder), run_folder.load_layers(folder)
    return assess(config, validated.layers, trained, *validated[1:])


def _save(
    folder: Path, layers: Sequence[str], state: TrainState, table: list[dict[str, float]]
) -> None:
    params, (*rows, mean) = jax.device_get(state.probe.slow), table
    numbers = (np.array([row[name] for row in rows]) for name in Validated._fields[1:])
    validated = Validated(tuple(layers), *numbers)
    run_folder.save_probe(folder, params, {**mean, "step": int(state.step)}, validated)


def _is_better(config: RunConfig, scores: dict[str, float], best: dict[str, float] | None) -> bool:
    feasible = (
        scores["divergence"] <= config.tolerance * config.margin
        and scores["agreement"] >= config.min_agreement
    )
    return feasible and (best is None or scores["masked"] > best["masked"])
