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
    description = read_json(folder / "config.json")
    kind = description.get("model_type")
    if kind not in supported:
        raise UserError(f"model_type {kind!r} is not supported, only {', '.join(supported)}")
    return description


def read_json(path: Path) -> Description:
    """The JSON object in a file. Raises: UserError if it is missing or damaged."""
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no {path.name} in {path.parent}") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not readable JSON ({error})") from error
    if not isinstance(description, dict):
        raise UserError(f"{path} must hold a JSON object")
    return description


def size(folder: Path, description: Description, key: str) -> int:
    """Raises: UserError if it is missing or not a whole number above 0."""
    value = description.get(key)
    if not isinstance(value, int) or value < 1:
        raise UserError(
            f"{folder / 'config.json'}: {key} must be a whole number above 0, is {value!r}"
        )
    return value


def rate(folder: Path, description: Description, key: str, default: float) -> float:
    """Raises: UserError if it is not a number; the default stands for what is missing or null."""
    value = default if description.get(key) is None else description[key]
    if not isinstance(value, int | float):
        raise UserError(f"{folder / 'config.json'}: {key} must be a number, is {value!r}")
    return float(value)


def check_class(
    description: Description, class_name: str, first: str = "texts with labels"
) -> None:
    """Raises: UserError if config.json says that the checkpoint's head is for another task.

    first: what such a checkpoint has to be fine-tuned on.
    """
    written = description.get("architectures")
    if not written:
        return
    names = [str(name) for name in written] if isinstance(written, list) else [str(written)]
    if class_name not in names:
        raise UserError(
            f"the checkpoint is a {names[0]} (architectures in config.json), not a {class_name}: "
            f"fine-tune it on {first} first"
        )


def output_names(description: Description) -> tuple[str, ...]:
    """The names of the outputs, in their order, as transformers reads them.

    `id2label`, else LABEL_0, LABEL_1, … for each of `num_labels`, which is two unless said. A name
    that stands twice is told apart by its number: "neutral", "neutral" become "neutral (0)",
    "neutral (1)".

    Raises: UserError if they are not numbered from 0, or fewer or more than `num_labels`.
    """
    count = description.get("num_labels")
    if count is not None and (type(count) is not int or count < 1):
        raise UserError(f"num_labels in config.json must be a whole number above 0, is {count!r}")
    names = description.get("id2label")
    if names is None:
        return tuple(f"LABEL_{number}" for number in range(2 if count is None else count))
    keys = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if not keys or set(map(str, names)) != set(keys):
        raise UserError("id2label in config.json must name the classes 0, 1, 2, …")
    if count is not None and count != len(names):
        raise UserError(
            f"config.json contradicts itself: num_labels is {count}, id2label names {len(names)}"
        )
    return _told_apart([str(names[key]) for key in keys])


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    while len(set(names)) < len(names):
        names = [
            f"{name} ({number})" if names.count(name) > 1 else name
            for number, name in enumerate(names)
        ]
    return tuple(names)


def describe_class_names(names: Sequence[str]) -> Description:
    """The inverse of `output_names`, as Hugging Face writes it."""
    return {
        "id2label": {str(number): label for number, label in enumerate(names)},
        "label2id": {label: number for number, label in enumerate(names)},
    }


def check_class_names(names: Sequence[str], fewest: int = 2) -> None:
    """Raises: UserError if the names of outputs are not enough different ones."""
    if len(set(names)) < max(len(names), fewest) or not all(map(str.strip, names)):
        many = "two or more different names" if fewest > 1 else "different names"
        raise UserError(f"the classes need {many}, not {', '.join(names)!r}")
