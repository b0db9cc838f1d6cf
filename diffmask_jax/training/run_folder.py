"""A run's folder: what was asked (config.json), where it ran, and the best probe it found."""

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from diffmask_jax.errors import UserError
from diffmask_jax.game import probes
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, mean_keep, mean_log_keep
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime.files import remove_half_written, write_atomically
from diffmask_jax.tasks.texts import Texts, read_lines, read_sst

PACKAGES = ("diffmask_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers")
FILES = ("config.json", "environment.json", "probe.safetensors", "validation.jsonl")
PROBES = {"input": probes.input_probe, "hidden": probes.hidden_probe}
SPARSITIES = {"log": mean_log_keep, "count": mean_keep}
CHOICES = {
    "task": ("sst", "texts"),
    "gate": tuple(PROBES),
    "sparsity": tuple(SPARSITIES),
    "layers": ("example", "batch"),
    "precision": ("float32", "bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that determines a training run.

    Raises: UserError if a part is unknown, or its parts contradict each other.
    """

    model: str
    task: str
    raw_dir: str | None = None
    data_dir: str | None = None
    train: str | None = None
    dev: str | None = None
    gate: str = "input"
    steps: int = 1600
    batch_size: int = 64
    steps_per_call: int = 4
    seed: int = 0
    margin: float = 0.1
    sparsity: str = "count"
    layers: str = "example"
    probe_rate: float = 1e-3
    baseline_rate: float = 3e-3
    multiplier_rate: float = 0.3
    warmup: int = 200
    validate_every: int = 200
    validation_texts: int = 256
    tolerance: float = 1.2
    min_agreement: float = 0.75
    precision: str = "float32"
    remat: bool = False
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UserError(f"{name} is {value!r}, not one of {', '.join(choices)}")
        if self.task == "texts" and not (self.train and self.dev):
            raise UserError("training on texts needs --train FILE and --dev FILE, one text a line")
        if self.gate == "hidden" and self.layers == "example":
            raise UserError("the hidden probe masks one state a batch: use --layers batch")


def load_model(config: RunConfig, moved: str | Path | None = None) -> Checkpoint:
    """The classifier that a run is about, computing as the run does. moved: where it lies now.

    Raises: UserError as `load_classifier` does.
    """
    return load_classifier(moved or config.model, config.precision, config.remat)


def make_game(config: RunConfig, model: Model, width: int) -> Game:
    """The game that a run plays on a model whose states are `width` wide."""
    probe = PROBES[config.gate](max(width // 4, 1))
    return Game(model, probe, CATEGORICAL, config.margin, SPARSITIES[config.sparsity])


def read_split(config: RunConfig, split: str) -> Texts:
    """One split of the data that a run is about.

    Raises: UserError if it cannot be read, or the run's own texts have no such split.
    """
    if config.task == "sst":
        return read_sst(split, config.raw_dir, config.data_dir)
    file = {"train": config.train, "dev": config.dev}.get(split)
    if file is None:
        raise UserError(f"the run has no {split} split: evaluate with --texts FILE instead")
    return read_lines(file)


def open_run(folder: Path, config: RunConfig) -> bool:
    """Make the run's folder, or find it there from the same configuration; True if it was there.

    A run may be made longer: no step depends on how many follow.

    Raises: UserError if the folder holds something else, or a run with another configuration.
    """
    file = folder / "config.json"
    remove_half_written(folder, *FILES)
    if file.exists():
        stored = dataclasses.asdict(load_config(folder))
        asked = dataclasses.asdict(config)
        longer = config.steps > stored["steps"]
        differing = differences(stored | {"steps": config.steps} if longer else stored, asked)
        if differing:
            raise UserError(
                f"{folder} holds a run with another configuration ({', '.join(differing)}): "
                "choose another --out, or repeat its options to continue it"
            )
        if longer:
            write_atomically(file, json.dumps(asked, indent=1) + "\n")
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if {path.name for path in folder.iterdir()} - {"environment.json"}:  # killed right here
            raise UserError(f"{folder} is not empty and holds no run: choose another --out")
    except OSError as error:
        raise UserError(f"cannot make the run folder {folder}: {error.strerror}") from error
    write_atomically(folder / "environment.json", json.dumps(environment(), indent=1) + "\n")
    write_atomically(file, json.dumps(dataclasses.asdict(config), indent=1) + "\n")
    return False


def differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """What is asked for and stored otherwise, in words."""
    return [
        f"{key} {stored.get(key)!r} → {value!r}"
        for key, value in asked.items()
        if stored.get(key) != value
    ]


def load_config(folder: Path) -> RunConfig:
    """The configuration of the run in a folder.

    Raises: UserError if there is none, or it is damaged.
    """
    file = folder / "config.json"
    try:
        return RunConfig(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a run folder: there is no {file.name} in it") from error
    except (OSError, ValueError, TypeError, UserError) as error:
        raise UserError(f"{file} is not a run's configuration ({error})") from error


def environment() -> dict[str, Any]:
    """What else the numbers depend on: command, versions, commit of the source, devices."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # installed from a wheel, or no git
        commit = None
    return {
        "command": sys.argv,
        "commit": commit,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
    }


def other_devices(folder: Path) -> str | None:
    """What to say where a run that began on other devices goes on on these; else None."""
    try:
        began = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["devices"]
    except (OSError, ValueError, LookupError):  # for people: no run needs it
        return None
    here = [device.device_kind for device in jax.devices()]
    if began == here:
        return None
    return f"the run began on {_counted(began)} and goes on on {_counted(here)}"


def _counted(devices: list[str]) -> str:
    kinds = (f"{devices.count(kind)} {kind}" for kind in sorted(set(devices)))
    return f"{', '.join(kinds)} device{'' if len(devices) == 1 else 's'}"


def save_probe(folder: Path, params: Any, scores: dict[str, float]) -> None:
    """Keep a probe as `probe.safetensors`, its validation scores in the file's metadata."""
    arrays = {name: np.asarray(array) for name, array in _flatten(params).items()}
    metadata = {"scores": json.dumps(scores)}  # one entry, for several are written in any order
    write_atomically(folder / "probe.safetensors", save(arrays, metadata=metadata))


def load_probe(folder: Path) -> tuple[Any, dict[str, float]]:
    """The kept probe's parameters and its validation scores.

    Raises: UserError if the run has kept none yet, or its file is damaged.
    """
    file = folder / "probe.safetensors"
    if not file.is_file():
        raise UserError(
            f"{folder} has kept no probe yet: let its training reach a validation that is feasible"
        )
    try:
        with safe_open(file, framework="np") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            scores = json.loads((opened.metadata() or {})["scores"])
        return _unflatten(arrays), scores
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is damaged ({error})") from error
    except (LookupError, ValueError, AttributeError) as error:  # some other safetensors file
        raise UserError(f"{file} holds no probe") from error


def _flatten(params: Any) -> dict[str, Any]:
    lists = {name: dict(enumerate(parts)) for name, parts in params.items()}
    return flatten_dict(_named(lists), sep=".")


def _named(tree: Any) -> Any:
    return {str(k): _named(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _unflatten(arrays: dict[str, Any]) -> Any:
    tree = unflatten_dict(arrays, sep=".")
    return {name: [parts[str(i)] for i in range(len(parts))] for name, parts in tree.items()}
