"""What an earlier call of an experiment left, so that one that was stopped goes on where it was."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.training.run_folder import differences


def kept(file: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
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


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Remember what a folder's results were made with.

    Raises: UserError if it holds results that were made with other settings.
    """
    file = folder / "settings.json"
    try:
        stored = dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else settings
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}): delete {folder}") from error
    if differing := differences(stored, settings):
        raise UserError(
            f"{folder} holds results of another {', '.join(differing)}: choose another --out"
        )
    make_folder(folder)
    write_atomically(file, json.dumps(settings, indent=1) + "\n")


def make_folder(folder: Path) -> None:
    """Raises: UserError if there can be no such folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
