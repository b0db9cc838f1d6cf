"""Which probe a run keeps after each validation, and the verdict on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from diffmask_jax.game.steps import TrainState
from diffmask_jax.runtime import json_files
from diffmask_jax.training import run_folder, settled
from diffmask_jax.training.assessment import (
    Assessment,
    LastValidation,
    LayerMeans,
    assess,
    layer_means,
)
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.run_folder import VALIDATIONS
from diffmask_jax.training.settled import Curves


def keep(
    config: RunConfig,
    folder: Path,
    layers: Sequence[str],
    state: TrainState,
    table: list[dict[str, float]],
    curves: Curves,
) -> str | None:
    """Keep the probe of a validated step if it is the best so far; returns a remark for people.

    In our game, whose probe is an average that settles, that is always the last one, and
    `layers.json` records which layers have settled. In the authors' game it is the feasible one
    that masks most so far; the last one is written beside it, for runs without a feasible one.

    table: the validation, one row per layer and the mean over layers last
    """
    if config.setting == "authors":
        _save(folder, layers, state, table, run_folder.LAST)
        if _is_better(config, table[-1], kept_scores(folder)):
            _save(folder, layers, state, table)
        return None
    _save(folder, layers, state, table)
    verdict = settled.verdict_on(curves, config.margin)
    rows = settled.as_rows(verdict, layers)
    last = LastValidation(int(state.step), bool(verdict.settled.all()), rows)
    run_folder.save_last_validation(folder, last)
    return settled.told(verdict, layers, config.margin)


SCORES = ("step", "masked", "divergence", "agreement")


def has_probe(folder: Path) -> bool:
    """Whether a run has a probe, kept or last, as every run has after a validation."""
    return any((folder / name).is_file() for name in (run_folder.PROBE, run_folder.LAST))


def kept_scores(folder: Path) -> dict[str, float] | None:
    """The validation scores of the probe kept so far; None if there is none.

    Raises: UserError if its file is damaged, or lacks one of SCORES.
    """
    return _load(folder, run_folder.PROBE)[1] if (folder / run_folder.PROBE).exists() else None


def none_feasible(config: RunConfig, folder: Path) -> str:
    """How near a run without a feasible probe came to one, and what its options are; for people.

    If one was feasible after all, the message is that the file of the kept probe is gone.
    """
    kinds = {"step": int, "divergence": float, "agreement": float}
    validations = json_files.read_lines(folder / VALIDATIONS, kinds)
    best, last = min(validations, key=lambda scores: _excess(config, scores)), validations[-1]
    if _is_feasible(config, best):
        return (
            f"the kept probe, {folder / run_folder.PROBE}, is missing: restore it, or retrain; to "
            f"see what the last probe says, run `diffmask explain {folder} --last-probe`"
        )
    return (
        f"no validation found a probe with {_promise(config)}. The closest was that of step "
        f"{_told(best)}; the last was that of step {_told(last)}. Train longer (--steps), or "
        "relax these limits; to see what the last probe says anyway, run `diffmask explain "
        f"{folder} --last-probe`"
    )


def load(config: RunConfig, folder: Path, last: bool) -> tuple[Any, str | None]:
    """The parameters of the kept probe, or of the last one and a reason to doubt it.

    Raises: UserError if there is none, or its file is damaged.
    """
    if last and (folder / run_folder.LAST).is_file():  # otherwise the kept one is the last
        params, scores = _load(folder, run_folder.LAST)
        kept = kept_scores(folder)
        if kept is None or kept["step"] != scores["step"]:
            return params, _doubt(config, scores)
    return run_folder.load_probe(folder)[0], None


def _load(folder: Path, name: str) -> tuple[Any, dict[str, float]]:
    """A probe and its validation scores."""
    params, scores = run_folder.load_probe(folder, name)
    for score in SCORES:
        json_files.field(scores, score, float, f"{folder / name}: its scores")
    return params, scores


def _doubt(config: RunConfig, scores: dict[str, Any]) -> str:
    if _is_feasible(config, scores):
        return f"explained by the run's last probe, of step {_told(scores)}, not by the one it kept"
    return (
        f"not to be trusted: explained by the run's last probe, of step {_told(scores)}, which "
        f"falls short of {_promise(config)}"
    )


def _promise(config: RunConfig) -> str:
    return (
        f"divergence ≤ {config.tolerance * config.margin:.3g} nats (--tolerance "
        f"{config.tolerance:g} × --margin {config.margin:g}) and agreement ≥ "
        f"{config.min_agreement:.3g} (--min-agreement)"
    )


def _told(scores: dict[str, Any]) -> str:
    step, divergence, agreement = (scores[k] for k in ("step", "divergence", "agreement"))
    return f"{step:.0f} (divergence {divergence:.3g}, agreement {agreement:.3g})"


def _excess(config: RunConfig, scores: dict[str, Any]) -> float:
    """The factor by which the divergence is too large, or the agreement too small."""
    return max(
        scores["divergence"] / (config.tolerance * config.margin),
        config.min_agreement / max(scores["agreement"], 1e-9),
    )


def assessed(folder: Path) -> Assessment | None:
    """The verdict on the probe that a run keeps, by its validation and how its training ended.

    None if there is no validation of each layer, as in runs of older versions.

    Raises: UserError if one of the run's files is damaged.
    """
    means = run_folder.load_validated(folder)
    if means is None:
        return None
    return assess_run(run_folder.load_config(folder), folder, means)


def assess_run(config: RunConfig, folder: Path, means: LayerMeans) -> Assessment:
    """The verdict on a run's probe, by its effect on some texts and how its training ended.

    Raises: UserError if `layers.json` is damaged.
    """
    return assess(config, means, run_folder.load_last_validation(folder))


def _save(
    folder: Path,
    layers: Sequence[str],
    state: TrainState,
    table: list[dict[str, float]],
    name: str = run_folder.PROBE,
) -> None:
    params, (*rows, mean) = jax.device_get(state.probe.slow), table
    scores = {**mean, "step": int(state.step)}
    run_folder.save_probe(folder, params, scores, layer_means(layers, rows), name)


def _is_better(config: RunConfig, scores: dict[str, float], best: dict[str, float] | None) -> bool:
    better = best is None or scores["masked"] > best["masked"]
    return _is_feasible(config, scores) and better


def _is_feasible(config: RunConfig, scores: dict[str, Any]) -> bool:
    return (
        scores["divergence"] <= config.tolerance * config.margin
        and scores["agreement"] >= config.min_agreement
    )
