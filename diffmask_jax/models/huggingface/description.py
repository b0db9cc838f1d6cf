"""The entries of a model's config.json, each checked, with a one-line error if it is wrong."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.json_files import shown
from diffmask_jax.runtime.messages import say, shows

Description = dict[str, Any]

LARGEST = {"vocabulary": 2**22, "positions": 2**20, "intermediate": 2**18, "blocks": 512}
"""Far more than any network has: a file with more is damaged, and would exhaust memory."""
MOST_CLASSES = 2**16


def read_description(folder: Path, supported: Sequence[str]) -> Description:
    """config.json of a model of one of the supported types.

    Raises: UserError if it is missing or damaged, of another type, or of quantised weights.
    """
    description: Description = json_files.read(folder / "config.json")
    kind = description.get("model_type")
    if kind is None:
        what = "a run: give its model" if "task" in description else "no known model"
        raise UserError(f"{folder / 'config.json'} names no model_type: the folder contains {what}")
    if kind not in supported:
        raise UserError(f"model_type {kind!r} is not supported, only {', '.join(supported)}")
    if description.get("quantization_config"):
        raise UserError(
            f"{folder / 'config.json'} has a quantization_config: quantised weights are not "
            "supported, use the model that was quantised"
        )
    return description


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a config.json, each checked when it is read.

    Every method raises a `UserError` that names the file and the field if a value is invalid.
    """

    folder: Path
    description: Description

    def sizes(self, keys: Mapping[str, str]) -> dict[str, int]:
        """All sizes of a network. keys: our name of each -> its key in config.json."""
        return {
            ours: self.size(theirs, largest=LARGEST.get(ours, 2**16))
            for ours, theirs in keys.items()
        }

    def size(self, key: str, default: int | None = None, largest: int = 2**16) -> int:
        """A whole number from 1 to `largest`, or the default if it is missing."""
        return self.whole_number(key, default, largest, smallest=1)

    def whole_number(
        self, key: str, default: int | None, largest: int = 2**16, smallest: int = 0
    ) -> int:
        """A whole number in [smallest, largest], or the default if it is missing."""
        value = self.description.get(key, default)
        if type(value) is not int or value < smallest:
            instead = f"not {shown(value)}" if key in self.description else "but is missing"
            raise UserError(
                f"{self.place(key)} must be a whole number "
                f"{'above 0' if smallest else 'of 0 or more'}, {instead}"
            )
        if value > largest:
            raise UserError(f"{self.place(key)} must be at most {largest}, not {value}")
        return value

    def number(self, key: str, default: float) -> float:
        """A number in [0, 1e12], or the default if it is missing or null."""
        value = default if self.description.get(key) is None else self.description[key]
        if type(value) not in (int, float) or not 0 <= value <= 1e12:
            raise UserError(
                f"{self.place(key)} must be a number from 0 to 1e12, not {shown(value)}"
            )
        return float(value)

    def text(self, key: str, default: str) -> str:
        """A string, or the default if it is missing."""
        text: str = json_files.check(self.description.get(key, default), str, self.place(key))
        return text

    def flag(self, key: str, default: bool) -> bool:
        """True or false, or the default if it is missing."""
        flag: bool = json_files.check(self.description.get(key, default), bool, self.place(key))
        return flag

    def inside(self, key: str) -> "Fields":
        """The fields of a nested object; no fields if it is missing or null."""
        value = self.description.get(key) or {}
        return Fields(self.folder, json_files.check(value, dict, self.place(key)))

    def place(self, key: str) -> str:
        """How messages name a field: FOLDER/config.json: KEY."""
        return f"{self.folder / 'config.json'}: {key}"


def check_class(
    description: Description, class_name: str, first: str = "texts with labels"
) -> None:
    """Raises: UserError if, by config.json, the checkpoint's head is for another task.

    Beside a bare encoder (BertModel) the weights tell whether there is a head; and classes of
    related encoders have the same heads.

    first: the advice for such a checkpoint: what to fine-tune it on first.
    """
    names, task = _class_names(description), _task(class_name)
    if names and all(_task(name) not in ("Model", task) for name in names):
        todo = f"fine-tune it on {first} first"
        if _answers(names):
            todo = "train its probe with `diffmask train questions`"
        raise UserError(
            f"the checkpoint is a {names[0]} (architectures in config.json), not a {class_name}: "
            f"{todo}"
        )


def answers_questions(folder: Path) -> bool:
    """Whether a model's folder has, by its config.json, a head that answers questions.

    Raises: UserError if config.json is missing or damaged.
    """
    return _answers(_class_names(json_files.read(folder / "config.json")))


def _class_names(description: Description) -> list[str]:
    """Transformers' names of the classes that a checkpoint was saved from; often one, or none."""
    written = description.get("architectures") or []
    return [str(name) for name in written] if isinstance(written, list) else [str(written)]


def _task(class_name: str) -> str:
    """BertForSequenceClassification -> SequenceClassification; BertModel -> Model."""
    if class_name.endswith("Model"):
        return "Model"
    return class_name.partition("For")[2] or class_name


def _answers(class_names: Sequence[str]) -> bool:
    return bool(class_names) and class_names[0].endswith("ForQuestionAnswering")


def number_of_outputs(description: Description) -> int:
    """How many outputs a head has whose outputs need no names: by default two.

    Raises: UserError if `num_labels` is not a whole number above 0.
    """
    count, names = _num_labels(description), description.get("id2label")
    if count is None:
        return len(names) if isinstance(names, dict) else 2
    return count


def _num_labels(description: Description) -> int | None:
    count: int | None = description.get("num_labels")
    if count is not None and (type(count) is not int or count < 1):
        raise UserError(f"num_labels in config.json must be a whole number above 0, not {count!r}")
    return count


def output_names(description: Description) -> tuple[str, ...]:
    """The names of the outputs, in order, as in transformers.

    They are those of `id2label`, or else LABEL_0, LABEL_1, … for each of `num_labels`, by default
    two. A blank name is replaced in the same way, and equal names are numbered: "neutral",
    "neutral" become "neutral (0)", "neutral (1)".

    Raises: UserError if they are not numbered from 0, or fewer or more than `num_labels`.
    """
    count, names = _num_labels(description), description.get("id2label")
    if names is None:
        if count is not None and count > MOST_CLASSES:
            raise UserError(
                f"num_labels in config.json must be at most {MOST_CLASSES}, not {count}"
            )
        return tuple(map(_number_name, range(2 if count is None else count)))
    keys = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if not keys or set(map(str, names)) != set(keys):
        raise UserError("id2label in config.json must name the classes 0, 1, 2, …")
    if not all(type(name) in (str, int, float) for name in names.values()):
        raise UserError("id2label in config.json must name the classes by text or by numbers")
    if count is not None and count != len(names):
        raise UserError(
            f"config.json contradicts itself: num_labels is {count}, but id2label names "
            f"{len(names)}"
        )
    return _told_apart(
        [
            name if shows(name) else _number_name(number)
            for number, name in enumerate(str(names[key]) for key in keys)
        ]
    )


def tell_other_numbers(description: Description) -> None:
    """Warn if `label2id` contradicts `id2label`, which `output_names` reads."""
    names, numbers = description.get("id2label"), description.get("label2id")
    if not (isinstance(names, dict) and isinstance(numbers, dict)):
        return
    of_name = {str(name): number for number, name in names.items()}
    for name, number in numbers.items():
        named = str(names.get(str(number)))
        if name in of_name and named != name:
            say(
                f"warning: config.json contradicts itself: label2id gives {name!r} the number "
                f"{shown(number)}, id2label gives it {of_name[name]}; using id2label"
            )
            return


def _number_name(number: int) -> str:
    return f"LABEL_{number}"


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    while len(set(names)) < len(names):
        times = collections.Counter(names)
        names = [
            f"{name} ({number})" if times[name] > 1 else name for number, name in enumerate(names)
        ]
    return tuple(names)


def describe_class_names(names: Sequence[str]) -> Description:
    """The inverse of `output_names`: the entries that Hugging Face writes."""
    return {
        "id2label": {str(number): label for number, label in enumerate(names)},
        "label2id": {label: number for number, label in enumerate(names)},
    }


def check_class_names(names: Sequence[str], fewest: int = 2) -> None:
    """Raises: UserError if the names of outputs are not distinct, or are too few."""
    if len(set(names)) < max(len(names), fewest) or not all(map(shows, names)):
        many = "two or more different names" if fewest > 1 else "different names"
        raise UserError(f"the classes need {many}, not {', '.join(names)!r}")
