"""The texts a run trains on and is evaluated on: SST, or a file with one text a line."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.sst import load_sst


class Texts(NamedTuple):
    """Texts in the order of their file; gold labels only where the data set has them."""

    texts: list[str]
    labels: Int[np.ndarray, " N"] | None


def read_sst(split: str, raw_dir: str | None, data_dir: str | None) -> Texts:
    """One split of SST. Raises: UserError as `load_sst` does."""
    places = [Path(p) if p else None for p in (raw_dir, data_dir)]
    sentences = load_sst(split, *places)
    return Texts([s.text for s in sentences], np.array([s.label for s in sentences]))


def check_labels(labels: Int[np.ndarray, " N"] | None, classes: int) -> None:
    """Gold labels and a model's classes belong together. Raises: UserError if they do not."""
    if labels is None:
        return
    lowest, highest = labels.min(), labels.max()
    if lowest < 0 or highest >= classes:
        raise UserError(
            f"the data has labels {lowest}–{highest}, but the model has {classes} classes"
        )


def read_lines(path: str | Path) -> Texts:
    """The lines of a UTF-8 file that are not blank.

    Raises: UserError if the file cannot be read or has none.
    """
    try:
        # Not splitlines(): it would also break a line at characters that a text may hold.
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise UserError(f"{path} holds no text")
    return Texts(texts, None)
