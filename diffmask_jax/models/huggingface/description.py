"""What a classifier's config.json says: its parts, each checked and told in one line if wrong."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError

Description = dict[str, Any]


def read_description(folder: Path, supported: Sequence[str]) -> Description:
    """config.json of a model of one of the supported types.

    Raises: UserError if it is missing or damaged, or of another type.
    """
    found = read_json(folder / "config.json")
    kind = found.get("model_type")
    if kind not in supported:
        raise UserError(f"model_type {kind!r} is not supported, only {', '.join(supported)}")
    return found


def read_json(path: Path) -> Description:
    """The JSON object in a file. Raises: UserError if it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no {path.name} in {path.parent}") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not readable JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a JSON object")
    return found


def size(folder: Path, found: Description, key: str) -> int:
    """Raises: UserError if it is missing or not a whole number above 0."""
    value = found.get(key)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{folder / 'config.json'}: {key} must be a whole number, is {value!r}")
    return value


def rate(folder: Path, found: Description, key: str, default: float) -> float:
    """Raises: UserError if it is not a number; the default stands for what is missing or null."""
    value = default if found.get(key) is None else found[key]
    if not isinstance(value, int | float):
        raise UserError(f"{folder / 'config.json'}: {key} must be a number, is {value!r}")
    return float(value)


def class_names(names: Any) -> tuple[str, ...]:
    """The class names in `id2label`, in the order of the logits.

    Raises: UserError if they are missing or not numbered from 0, or there is only one.
    """
    keys = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if not keys or set(names) != set(keys):
        raise UserError("id2label in config.json must name the classes 0, 1, 2, …")
    if len(names) < 2:
        raise UserError("the checkpoint has one output, a regression: nothing to classify")
    return tuple(str(names[key]) for key in keys)


def describe_class_names(names: Sequence[str]) -> Description:
    """The inverse of `class_names`, as Hugging Face writes it."""
    return {
        "id2label": {str(number): label for number, label in enumerate(names)},
        "label2id": {label: number for number, label in enumerate(names)},
    }


def check_class_names(names: Sequence[str]) -> None:
    """Raises: UserError if the names of classes are not two or more different ones."""
    if len(set(names)) < max(len(names), 2) or not all(map(str.strip, names)):
        raise UserError(f"the classes need two or more different names, not {', '.join(names)!r}")
