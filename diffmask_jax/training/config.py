"""What determines a training run; its settings are the command line's options. Free of JAX."""

import dataclasses
import os
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.game.gates import GATES
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.settings import count, not_negative, positive, positive_int, seed, share
from diffmask_jax.tasks.tasks import TASKS

AUTHORS = {
    "batch_size": 64,
    "layers": "batch",
    "sparsity": "log",
    "pull": 0.0,
    "probe_rate": 3e-4,
    "baseline_rate": 1e-3,
    "multiplier_rate": 0.3,
    "multiplier_start": 1.0,
    "warmup": 1200,
    "tolerance": 8.0,
}
"""The defaults of the authors' game (`players.authors`)."""

WAYS = ("settling", "authors")
SPARSITIES = ("count", "log")
LAYERS = ("example", "batch")
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that determines a training run. `run_config` makes one from plain settings.

    Attributes:
        model: folder or hub id of the frozen classifier.
        task: the name of the data set, or of the kind of file, that it reads.
        places: where that data is; its type is the task's.

    Raises: UserError if a setting is unknown, or two contradict each other.
    """

    model: str
    task: str
    places: Any
    gate: str = settings.setting("input", "what the probe masks", choices=tuple(GATES))
    setting: str = settings.setting(
        "settling",
        "a game that settles and ends by itself, or that of the paper's authors with their "
        f"defaults: {' '.join(f'{settings.option(k)} {v}' for k, v in AUTHORS.items())}",
        choices=WAYS,
    )
    steps: int = settings.setting(
        8000, "optimiser steps, at most, in whole calls", check=positive_int
    )
    batch_size: int = settings.setting(32, "texts per step", check=positive_int)
    steps_per_call: int = settings.setting(4, "steps per device call", check=positive_int)
    seed: int = settings.setting(0, "seed for initialisation, gates and data order", check=seed)
    margin: float = settings.setting(0.1, "divergence allowed, in nats", check=positive)
    sparsity: str = settings.setting(
        "count", "minimise the mean of keep probabilities, or of their logs", choices=SPARSITIES
    )
    layers: str = settings.setting(
        "example", "what a depth is drawn for: each example, or a whole batch", choices=LAYERS
    )
    pull: float = settings.setting(
        0.003, "how strongly votes are pulled to where they can still move", check=not_negative
    )
    probe_rate: float = settings.setting(1.5e-3, "learning rate of the probe", check=positive)
    baseline_rate: float = settings.setting(3e-3, "learning rate of the baseline", check=positive)
    multiplier_rate: float = settings.setting(
        0.001, "learning rate of log λ; authors: of λ", check=positive
    )
    multiplier_start: float = settings.setting(
        0.2,
        "λ times the margin before the first step: the larger, the less is dropped at first; "
        "authors: λ itself",
        check=positive,
    )
    warmup: int = settings.setting(100, "steps of linear warm-up", check=count)
    validate_every: int = settings.setting(500, "steps between validations", check=positive_int)
    validation_texts: int = settings.setting(256, "texts per validation", check=positive_int)
    tolerance: float = settings.setting(
        1.2,
        "a probe is good if its divergence is at most this many margins; authors: else not kept",
        check=positive,
    )
    min_agreement: float = settings.setting(
        0.75,
        "a probe is good if at least this share of predictions stays; authors: else not kept",
        check=share,
    )
    precision: str = settings.setting(
        "float32",
        "precision of the frozen model; the probe and the game stay in float32",
        choices=PRECISIONS,
    )
    remat: bool = settings.setting(
        False, "recompute blocks in the backward pass: less memory, more time"
    )
    accumulate: int = settings.setting(
        1, "work through every batch in this many parts: less memory", check=positive_int
    )

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"task is {self.task!r}, not one of {', '.join(TASKS)}")
        settings.settle(self)


def run_config(model: str | os.PathLike[str], task: str, **given: Any) -> RunConfig:
    """A run's configuration from its settings and its data's places, all by name.

    Settings that are None and do not belong to the task are ignored, since older configurations
    list the places of every task.

    Raises: UserError if a setting is unknown, or two contradict each other.
    """
    if task not in TASKS:
        raise UserError(f"task is {task!r}, not one of {', '.join(TASKS)}")
    places = TASKS[task].places
    own = {field.name for field in dataclasses.fields(places)}
    rest = {
        name: value
        for name, value in given.items()
        if name not in own and (value is not None or name in SETTINGS)
    }
    if unknown := sorted(set(rest) - SETTINGS):
        raise UserError(f"there is no setting {unknown[0]!r} for the task {task}")
    where = places(**{name: value for name, value in given.items() if name in own})
    settings.settle(where)
    if rest.get("setting") == "authors":
        rest = AUTHORS | rest
    return RunConfig(model=_absolute(model), task=task, places=where, **rest)


def _absolute(model: str | os.PathLike[str]) -> str:
    """A folder's absolute path, since a run may be read from elsewhere; a hub id as it is."""
    named = os.fspath(model)
    path = settings.absolute(named)
    return path if named and os.path.exists(path) else named


SETTINGS = {field.name for field in dataclasses.fields(RunConfig)} - {"model", "task", "places"}


def where(config: RunConfig) -> set[str]:
    """The names of the settings that say where the model and the texts are."""
    places = dataclasses.fields(config.places)
    return {"model"} | {place.name for place in places if place.metadata.get("is_path")}


def as_dict(config: RunConfig) -> dict[str, Any]:
    """The inverse of `run_config`: the content of a run's config.json."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    where = dataclasses.asdict(values.pop("places"))
    return {"model": values.pop("model"), "task": values.pop("task")} | where | values
