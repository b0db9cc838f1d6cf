"""A run's folder: its configuration (config.json), where it ran, and the best probe it found."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files, locks, settings, tensors
from diffmask_jax.runtime.environment import environment
from diffmask_jax.runtime.files import check_plain, check_readable, remove_half_written, write_in
from diffmask_jax.training import fingerprint
from diffmask_jax.training.assessment import LastValidation, LayerMeans
from diffmask_jax.training.config import RunConfig, as_dict, run_config, where
from diffmask_jax.training.fingerprint import Fingerprint

CONFIG, ENVIRONMENT, SCALE, LAYERS = "config.json", "environment.json", "scale.json", "layers.json"
VALIDATIONS, CURVES, CURVE_PICTURE = "validation.jsonl", "curves.jsonl", "curves.png"
PROBE = "probe.safetensors"
LAST = "last_probe.safetensors"  # in a run of the authors' game, which keeps only feasible ones
FILES = (
    *(CONFIG, ENVIRONMENT, fingerprint.FILE, SCALE, PROBE, LAST),
    *(VALIDATIONS, CURVES, CURVE_PICTURE, LAYERS),
)


def open_run(
    folder: Path, config: RunConfig, made_with: Fingerprint | None = None, anyway: bool = False
) -> bool:
    """Make the run's folder, or find one of the same configuration; True if it was there already.

    A run may be extended, since no step depends on how many follow; and its model and texts may
    have moved, if it knows them by their fingerprint.

    made_with: the fingerprint of its model and texts
    anyway: continue although they are not those that the run began with

    Raises: UserError if the folder contains anything else, or a run with another configuration,
        model or texts.
    """
    file = folder / CONFIG
    remove_half_written(folder, *FILES)
    if file.exists():
        stored, asked = as_dict(load_config(folder)), as_dict(config)
        may_differ = {"steps"} if config.steps > stored["steps"] else set()
        if made_with is not None and (folder / fingerprint.FILE).is_file():
            may_differ |= where(config)
        differing = settings.differences(stored | {name: asked[name] for name in may_differ}, asked)
        if differing:
            raise UserError(
                f"{folder} contains a run with another configuration ({', '.join(differing)}): "
                "choose another --out, or repeat its options to continue it"
            )
        fingerprint.check(folder, made_with or {}, anyway)
        if stored != asked:
            settings.write(file, asked)
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A process killed at this point leaves nothing else.
        first = {ENVIRONMENT, fingerprint.FILE, locks.FILE}
        if {path.name for path in folder.iterdir()} - first:
            raise UserError(f"{folder} is not empty and contains no run: choose another --out")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)  # an error for a NUL in the name has none
        raise UserError(f"cannot make the run folder {folder}: {reason}") from error
    settings.write(folder / ENVIRONMENT, environment())
    if made_with is not None:
        fingerprint.keep(folder, made_with)
    settings.write(file, as_dict(config))
    return False


def load_config(folder: Path) -> RunConfig:
    """The configuration of the run in a folder.

    Raises: UserError if there is none, or it cannot be read, is damaged, or is a model's.
    """
    file = folder / CONFIG
    check_readable(folder)
    if not os.path.isfile(file):
        raise UserError(f"{folder} is not a run folder: there is no {file.name} in it")
    check_plain(folder)
    try:
        stored = json_files.read(file)
        if not {"model_type", "architectures", "hidden_size"} & stored.keys():
            for name in ("model", "task"):
                json_files.field(stored, name, str, file.name)
            # Before there was a choice, the authors' players were used.
            return run_config(**{"setting": "authors"} | stored)
    except (TypeError, UserError) as error:
        raise UserError(f"{file} is not a run's configuration ({error})") from error
    raise UserError(
        f"{folder} contains a model, not a run: train a probe on it first, and give the run's "
        "folder"
    )


def other_devices(folder: Path) -> str | None:
    """A remark for a run that began on other devices and continues on these; else None."""
    try:
        began = json_files.read(folder / ENVIRONMENT)["devices"]
        began = [json_files.check(device, str, "a device") for device in began]
    except (UserError, LookupError, TypeError):  # only for people; no run needs it
        return None
    here = [device.device_kind for device in jax.devices()]
    if began == here:
        return None
    return f"the run began on {counted(began)} and continues on {counted(here)}"


def counted(devices: list[str]) -> str:
    """Devices counted by kind, for people: 2 cpu devices."""
    kinds = (f"{devices.count(kind)} {kind}" for kind in sorted(set(devices)))
    return f"{', '.join(kinds)} device{'' if len(devices) == 1 else 's'}"


def save_scale(folder: Path, scale: float) -> None:
    """Keep the scale of the model's outputs (`Head.scale`), which a regression's game needs."""
    settings.write(folder / SCALE, {"scale": scale})


def load_scale(folder: Path) -> float | None:
    """The scale that `save_scale` wrote, if any. Raises: UserError if its file is damaged."""
    kept = settings.read(folder / SCALE)
    scale = 1.0 if kept is None else kept.get("scale")
    if type(scale) is not float or settings.positive(scale):
        raise UserError(
            f"{folder / SCALE} is damaged: delete it, and run the training command again to "
            "recreate it"
        )
    return None if kept is None else scale


def save_last_validation(folder: Path, last: LastValidation) -> None:
    """Write what the last validation found, in place of what an earlier one did."""
    settings.write(folder / LAYERS, last._asdict())


def load_last_validation(folder: Path) -> LastValidation:
    """What `save_last_validation` wrote, if anything. Raises: UserError if its file is damaged."""
    file = folder / LAYERS
    kept = settings.read(file)
    if kept is None:
        return LastValidation()
    for name, kind in (("step", int), ("settled", bool), ("layers", list)):
        json_files.field(kept, name, kind, str(file))
    told = {"layer": str, "divergence": float, "still": bool, "on_margin": bool}
    for row in kept["layers"]:
        json_files.check(row, dict, f"{file}: a layer")
        for field, needed in told.items():
            json_files.field(row, field, needed, f"{file}: a layer")
    return LastValidation(*(kept[name] for name in LastValidation._fields))


def save_probe(
    folder: Path,
    params: Any,
    scores: dict[str, float],
    validated: LayerMeans | None = None,
    name: str = PROBE,
) -> None:
    """Write a probe to a file, with its validation in the file's metadata.

    scores: means over the layers; validated: the means at each layer
    """
    arrays = {path: np.asarray(array) for path, array in _flatten(params).items()}
    told: dict[str, Any] = dict(scores)
    if validated is not None:
        told["validated"] = {k: np.array(v).tolist() for k, v in validated._asdict().items()}
    metadata = {"scores": json_files.dumps(told)}  # one entry, since several have no fixed order
    write_in(folder, name, save(arrays, metadata=metadata))


def load_probe(folder: Path, name: str = PROBE) -> tuple[Any, dict[str, float]]:
    """The parameters and validation scores of the kept probe, or of the last one, by its name.

    Raises: UserError if the run has kept none yet, or its file is damaged.
    """
    file = folder / name
    if not file.is_file():
        last = ", or use its last probe (--last-probe)" if (folder / LAST).is_file() else ""
        raise UserError(
            f"{folder} has no kept probe yet: train until a validation is feasible{last}"
        )
    arrays, metadata = tensors.read(file)
    try:
        scores = _scores(metadata)
        if isinstance(scores.get("validated"), dict):  # by layer, beside the scores
            del scores["validated"]
        for score in scores:
            json_files.field(scores, score, float, "its scores")
        return _unflatten(arrays), scores
    except (UserError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not a probe ({error})") from error  # but other tensors instead


def load_validated(folder: Path) -> LayerMeans | None:
    """The kept probe's validation at each layer; None if it was not written.

    Raises: UserError if its file is damaged.
    """
    file = folder / PROBE
    metadata = tensors.read_metadata(file)
    try:
        told = _scores(metadata).get("validated")
        if told is None:
            return None
        names, *numbers = (told[name] for name in LayerMeans._fields)
        arrays = [np.array(values, float) for values in numbers]
        if not names or {array.shape for array in arrays} != {(len(names),)}:
            raise ValueError("a layer has no numbers")
        return LayerMeans(tuple(map(str, names)), *arrays)
    except (UserError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} has no validation of every layer ({error})") from error


def _scores(metadata: Any) -> dict[str, Any]:
    return json_files.check(json_files.parse(metadata["scores"], "its scores"), dict, "its scores")


def _flatten(params: Any) -> dict[str, Any]:
    lists = {name: dict(enumerate(parts)) for name, parts in params.items()}
    return flatten_dict(_named(lists), sep=".")


def _named(tree: Any) -> Any:
    return {str(k): _named(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _unflatten(arrays: dict[str, Any]) -> Any:
    tree = unflatten_dict(arrays, sep=".")
    return {name: [parts[str(i)] for i in range(len(parts))] for name, parts in tree.items()}
