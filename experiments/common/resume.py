"""Results that earlier calls of an experiment have left, from which a stopped one continues."""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.files import make_folder, write_atomically
from diffmask_jax.training import fingerprint


def load_or_make(file: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that an earlier call has left in a file; otherwise they are made and written now.

    Raises: UserError if the file is damaged.
    """
    if not file.exists():
        buffer = io.BytesIO()
        np.savez(buffer, **make())  # type: ignore[arg-type]
        make_folder(file.parent)
        write_atomically(file, buffer.getvalue())
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{file} is damaged ({error}): delete it, and it will be computed again"
        ) from error


def check_model(folder: Path, model: Classifier) -> None:
    """Record the fingerprint of the model that a folder's results belong to, or compare it.

    The model's place and the spelling of its path do not matter. A folder without a fingerprint,
    made by an older version, is accepted.

    Raises: UserError if the results belong to another model, or the fingerprint is damaged.
    """
    found = fingerprint.of_model(model)
    made_with = settings.read(folder / fingerprint.FILE)
    if others := fingerprint.differing(made_with or {}, found):
        raise UserError(
            f"{folder} contains results of another model, of other {', '.join(others)}: choose "
            "another --out"
        )
    if made_with is None:
        make_folder(folder)
        fingerprint.keep(folder, found)


def check_texts(folder: Path, **texts: Iterable[bytes]) -> None:
    """Record the texts, perhaps with their labels, that a folder's results belong to, or compare
    them, by name. Raises: UserError as `check_settings` does."""
    check_settings(folder, {name: settings.digest(parts) for name, parts in texts.items()})


def check_settings(
    folder: Path, asked: dict[str, Any], before: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Record the settings that a folder's results are made with, or compare them.

    before: the values of settings of which a folder made by an older version says nothing

    Raises: UserError if the folder has results of other settings, or its settings are damaged.
    """
    file = folder / "settings.json"
    stored = settings.read(file)
    if stored is not None and (differing := settings.differences({**before, **stored}, asked)):
        raise UserError(
            f"{folder} contains results of another {', '.join(differing)}: choose another --out"
        )
    make_folder(folder)
    settings.write(file, asked)
