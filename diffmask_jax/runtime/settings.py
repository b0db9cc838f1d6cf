"""Settings as dataclasses, each field with its help, checks and default, and as files in folders.

The command line's options are made from the same fields. Nothing here imports JAX, so that help and
mistakes are shown at once.
"""

import dataclasses
import hashlib
import numbers
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.files import write_in
from diffmask_jax.runtime.messages import shows

Check = Callable[[Any], str | None]
"""A value -> the reason why it is invalid, or None."""


def setting(
    default: Any,
    help: str,
    *,
    check: Check | None = None,
    choices: Sequence[str] | None = None,
    told: str | None = None,
    is_path: bool = False,
) -> Any:
    """A field of a dataclass of settings.

    help: what it is, in one line
    check: which values are valid
    choices: all its values, if they can be listed
    told: the default in words, if the value itself says too little
    is_path: it names a file or folder, and is kept as an absolute path, since it may be read from
        another working directory
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "check": check,
            "choices": choices,
            "told": told,
            "is_path": is_path,
        },
    )


LARGEST_INT = 2**31 - 1  # of JAX's integers
LEAST, LARGEST = 1e-30, 1e30  # within the range of float32, with room for products


def positive(value: float) -> str | None:
    """Above 0, and neither 0 nor infinite in float32."""
    if not 0 < value < float("inf"):
        return "must be a positive number"
    return None if LEAST <= value <= LARGEST else f"must lie between {LEAST:g} and {LARGEST:g}"


def positive_int(value: int) -> str | None:
    """1, 2, 3, …, 2³¹ − 1"""
    is_whole = isinstance(value, numbers.Integral) and value >= 1
    return count(value) if is_whole else "must be a whole number above 0"


def count(value: int) -> str | None:
    """0, 1, 2, …, 2³¹ − 1"""
    if value < 0:
        return "must not be negative"
    return None if value <= LARGEST_INT else f"must be at most {LARGEST_INT}"


def not_negative(value: float) -> str | None:
    """0, or as in `positive`."""
    if not 0 <= value < float("inf"):
        return "must not be negative"
    return None if value == 0 else positive(value)


def share(value: float) -> str | None:
    """In (0, 1]."""
    return None if 0 < value <= 1 else "must lie in (0, 1]"


def fraction(value: float) -> str | None:
    """In [0, 1]."""
    return None if 0 <= value <= 1 else "must lie in [0, 1]"


def seed(value: int) -> str | None:
    """In [0, 2³²), since JAX takes a larger seed for one of these."""
    return None if 0 <= value < 2**32 else "must be a whole number from 0 to 4294967295"


def naming(value: str | Path) -> str | None:
    """A name that is not blank, and not that of something remote.

    An empty one comes from a shell variable that was never set, and means this folder to Python;
    gs://bucket would be a folder called gs: in it.
    """
    if not shows(str(value)):
        return "must not be empty"
    if _REMOTE.match(str(value)):
        return f"must not be a URL such as {value}: download it, or mount what contains it"
    return None


_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")


def settle(settings: Any) -> None:
    """Check every setting of a dataclass, and convert it to the plain type that JSON keeps.

    Raises: UserError naming the first field with an invalid value.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if "help" in field.metadata and not (value is None and field.default is None):
            object.__setattr__(settings, field.name, _settled(field, value))


def _settled(field: dataclasses.Field[Any], value: Any) -> Any:
    choices, wrong = field.metadata["choices"], field.metadata["check"]
    if choices:
        if value not in choices:
            raise UserError(f"{field.name} is {value!r}, not one of {', '.join(choices)}")
        return str(value)
    kind: type = str if field.default is None else type(field.default)
    accepted, words = _ACCEPTED[kind]
    is_truth = isinstance(value, bool)  # a number, to Python
    if not isinstance(value, accepted) or is_truth != (kind is bool):
        raise UserError(f"{option(field.name)} must be {words}, not {value!r}")
    if kind is str and (nothing := naming(value)):
        raise UserError(f"{option(field.name)} {nothing}")
    if field.metadata["is_path"] and not is_kept(value):
        raise UserError(
            f"{option(field.name)} {value} is a stream, and training reads its texts again when it "
            "goes on: write them to a file first"
        )
    plain = absolute(value) if field.metadata["is_path"] else kind(value)
    if wrong and (reason := wrong(plain)):
        raise UserError(f"{option(field.name)} {reason}, not {plain!r}")
    return plain


_ACCEPTED: dict[type, tuple[Any, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: ((str, Path), "text"),
}


def is_kept(path: str | Path) -> bool:
    """Whether it can be read again: a file, a folder or nothing yet, and not a pipe or a device."""
    whole = os.path.expanduser(path)
    return not os.path.exists(whole) or os.path.isfile(whole) or os.path.isdir(whole)


def absolute(path: str | Path) -> str:
    """The absolute path of a file or folder. Raises: UserError if JSON cannot represent it."""
    whole = os.path.expanduser(path)
    if "\0" in whole or any("\ud800" <= sign <= "\udfff" for sign in whole):
        raise UserError(f"a path must be valid Unicode without a NUL, not {whole!r}")
    return os.path.realpath(whole)


def option(name: str) -> str:
    """steps_per_call -> --steps-per-call"""
    return "--" + name.replace("_", "-")


def differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """The settings whose requested and stored values differ, in words."""
    return [
        f"{key} {stored.get(key)!r} → {value!r}"
        for key, value in asked.items()
        if stored.get(key) != value
    ]


def digest(parts: Iterable[bytes]) -> str:
    """A digest that identifies weights, texts and other large data."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def read(file: Path) -> dict[str, Any] | None:
    """The settings that `write` wrote to a file; None if there is no such file.

    Raises: UserError if it is damaged.
    """
    if not os.path.lexists(file):
        return None
    try:
        return dict(json_files.read(file))
    except UserError as error:
        raise UserError(f"{file} is damaged ({error})") from error


def write(file: Path, settings: dict[str, Any]) -> None:
    """Write settings to a file, such as a folder's config.json.

    Raises: UserError if it cannot be written, or could not be read again.
    """
    text = json_files.dumps(settings, indent=1) + "\n"
    json_files.parse(text, f"cannot write {file}")
    write_in(file.parent, file.name, text)
