"""What an earlier call of an experiment left, so that one that was stopped goes on where it was."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.files import make_folder, write_atomically
from diffmask_jax.training import fingerprint


def load_or_make(file: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that an earlier call left in a file, or those made, and left there, now.

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
        raise UserError(f"{file} is damaged ({error}): delete it to make it anew") from error


def check_model(folder: Path, model: Classifier) -> None:
    """Remember, by its fingerprint, which model a folder's results belong to.

    It does not matter where the model lies or how its path is spelt. A folder that remembers no
    fingerprint, made by an older version, is taken as it is.

    Raises: UserError if the results belong to another model, or the fingerprint is damaged.
    """
    found = fingerprint.of_model(model)
    made_with = settings.read(folder / fingerprint.FILE)
    if others := fingerprint.differing(made_with or {}, found):
        raise UserError(
            f"{folder} holds results of another model, of other {', '.join(others)}: choose "
            "another --out"
        )
    if made_with is None:
        make_folder(folder)
        fingerprint.keep(folder, found)


def check_settings(folder: Path, asked: dict[str, Any]) -> None:
    """Remember what a folder's results were made with.

    Raises: UserError if it holds results that were made with other settings, or they are damaged.
    """
    file = folder / "settings.json"
    stored = settings.read(file)
    if stored is not None and (differing := settings.differences(stored, asked)):
        raise UserError(
            f"{folder} holds results of another {', '.join(differing)}: choose another --out"
        )
    make_folder(folder)
    settings.write(file, asked)
