"""Warnings about a training run that cannot work, before it wastes its time."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffmask_jax.render.layer_names import listed
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.settled import FEWEST, IDLE, OFF_MARGIN, Curves

WINDOWS = 16  # parts of a run, whose mean divergences are compared with the margin
FAIR = 0.5  # of an even share of the examples: a layer that plays less is starved


def before(config: RunConfig, layers: int) -> list[str]:
    """Warnings from a run's settings alone. layers: the number of the model's layers."""
    told = []
    if config.warmup >= config.steps:
        told.append(
            f"the warm-up of {config.warmup} steps lasts for the whole run of {config.steps}: the "
            "learning rates never reach their full values; lower --warmup"
        )
    least = FEWEST * config.steps_per_call
    if config.setting != "authors" and config.steps < least:
        told.append(
            f"a run of {config.steps} steps is too short to be judged as settled, which takes "
            f"{least}"
        )
    if config.layers == "batch" and config.steps < FEWEST * layers:
        told.append(
            f"each of {layers} layers plays in only {config.steps / layers:.1f} of the "
            f"{config.steps} steps: raise --steps, or pass --layers example"
        )
    return told


def during(config: RunConfig, layers: Sequence[str], curves: Curves) -> list[str]:
    """Warnings from the curves, once half of a run's steps are done; none before.

    A layer never reaches its margin if in every sixteenth of the run its mean D was more than 10%
    below m while λ·m still mattered, or in every one more than 10% above. It starves if it plays
    less than half as often as in an even deal.
    """
    calls = len(curves.played)
    if 2 * calls * config.steps_per_call < config.steps or calls < WINDOWS:
        return []
    share = curves.played.mean(axis=0) * len(layers)
    told = [
        f"layer {layers[n]} starves, with {share[n]:.0%} of an even share of the steps: raise "
        "--steps, or pass --layers example"
        for n in np.flatnonzero(share < FAIR).tolist()
    ]
    divergence, felt = _by_window(curves), curves.multiplier[-1] * config.margin > IDLE
    for kind, never in {
        "up to": felt & (divergence < (1 - OFF_MARGIN) * config.margin).all(axis=0),
        "down to": (divergence > (1 + OFF_MARGIN) * config.margin).all(axis=0),
    }.items():
        if never.any():
            where = listed([layers[n] for n in np.flatnonzero(never).tolist()])
            more = "less" if kind == "up to" else "more"
            told.append(
                f"D has never come {kind} the margin of {config.margin:g} nats at {where}: "
                f"train longer, or allow {more} with --margin"
            )
    return told


def _by_window(curves: Curves) -> Float[np.ndarray, "W L"]:
    """Mean D over the examples that played a layer; NaN where none did."""
    parts = np.array_split(np.arange(len(curves.played)), WINDOWS)
    sums = np.array([curves.divergence[part].sum(axis=0) for part in parts])
    played = np.array([curves.played[part].sum(axis=0) for part in parts])
    return np.where(played > 0, sums / np.where(played > 0, played, 1), np.nan)
