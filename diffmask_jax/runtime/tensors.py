"""Checks of tensors: those from files must be finite floats of the expected shape.

So must computed ones be finite, before they are shown or kept.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_readable

OVERFLOW = "its weights are too large for the precision it computes in"
"""The reason why a network with finite weights may yield numbers that are not."""


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file of ours, without reading its tensors.

    Raises: UserError if it is damaged.
    """
    with _opened(path) as opened:
        return opened.metadata() or {}


def read(path: Path) -> tuple[dict[str, Float[np.ndarray, "..."]], dict[str, str]]:
    """All tensors of a safetensors file of ours in float32, and its metadata.

    Raises: UserError if it is damaged, or as `checked` does.
    """
    with _opened(path) as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata() or {}
    try:
        return {name: checked(tensors, name) for name in tensors}, metadata
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open file. Raises: UserError if it cannot be read, and for any error in the context."""
    check_readable(path)
    try:
        with safe_open(path, framework="np") as opened:
            yield opened
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})") from error


def checked(
    tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...] | None = None
) -> Float[np.ndarray, "..."]:
    """The tensor of a name in float32. shape: its expected shape, if known.

    Raises: UserError naming the tensor if it is missing, of another shape or not of floats, or if
        it contains NaN, infinity or numbers beyond float32.
    """
    if name not in tensors:
        raise UserError(f"the weights lack the tensor {name}")
    tensor = tensors[name]
    if shape is not None and tensor.shape != shape:
        raise UserError(f"tensor {name} has shape {tensor.shape}, but config.json asks for {shape}")
    if not _is_float(tensor.dtype):
        raise UserError(
            f"tensor {name} has type {tensor.dtype}: quantised weights are not supported"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        single = tensor.astype(np.float32, copy=False)
    if not (finite := np.isfinite(single)).all():
        place = np.unravel_index(np.argmin(finite), finite.shape)
        raise UserError(f"tensor {name} is not finite: {tensor[place]} at {[*map(int, place)]}")
    return single


def check_finite(tree: Any, otherwise: str) -> None:
    """Raises: UserError with a message if a number in a pytree of arrays is not finite."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
        raise UserError(otherwise)


def _is_float(dtype: np.dtype) -> bool:
    """Whether a type is a float: NumPy's own, or one of accelerators (bfloat16, float8)."""
    return np.issubdtype(dtype, np.floating) or "float" in dtype.name
