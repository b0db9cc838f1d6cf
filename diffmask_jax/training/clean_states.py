"""The clean passes of a data set, computed once, since a frozen model never changes.

A training step needs one clean pass, one masked pass and one backward pass; looking up the first
saves a third of the work, and more for the hidden probe, which resumes in the middle.

Every device holds all of them: batches are drawn from the whole data set, so that sharded passes
would have to be sent to other devices at every step.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
from jaxtyping import Array, Int
from tqdm import tqdm

from diffmask_jax.data import batches
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Clean, clean_pass
from diffmask_jax.runtime import devices
from diffmask_jax.runtime.distributed import is_first
from diffmask_jax.runtime.memory import GIB

BATCH = 64


class CleanStates(NamedTuple):
    """Every text's clean pass, in the memory of every device.

    by_length: padded length -> the passes of all texts of that length, stacked along axis 0
    row: the row of each text therein
    """

    by_length: dict[int, Clean]
    row: Int[np.ndarray, " N"]

    def of(self, batch: Batch) -> tuple[Clean, Int[np.ndarray, "..."]]:
        """The arguments of `look_up`: all passes of a batch's length, and the batch's rows."""
        return self.by_length[batch.inputs.valid.shape[-1]], self.row[batch.indices]


def look_up(stored: Clean, rows: Int[Array | np.ndarray, " B"]) -> Clean:
    """The clean pass of the texts in some rows."""
    return jax.tree.map(lambda passes: passes[rows], stored)


def compute(
    model: Model, params: Any, texts: Sequence[Encoded], limit: int = batches.LENGTHS[-1]
) -> CleanStates:
    """Run every text through the model once. limit: the largest number of word pieces of a text.

    Raises: UserError, before the work starts, if the passes need more memory than is free.
    """
    check_fits(model, params, texts, limit)
    mesh = devices.data_mesh()
    run = devices.spread(clean_pass, mesh, model)
    clean = functools.partial(run, devices.place(params, mesh, devices.WHOLE))
    texts_of: collections.Counter[int] = collections.Counter()
    row = np.zeros(len(texts), np.int32)
    for text, length in enumerate(_lengths(texts, limit)):
        row[text] = texts_of[length]
        texts_of[length] += 1
    rooms: dict[int, Clean] = {}
    hidden = None if is_first() else True
    with tqdm(total=len(texts), desc="clean states", unit="text", disable=hidden) as bar:
        for batch in batches.in_order(texts, devices.round_up(BATCH, mesh), limit):
            length, count = batch.inputs.valid.shape[1], len(batch.indices)
            passes = jax.device_get(clean(batch.inputs))
            if length not in rooms:
                rooms[length] = _room(passes, texts_of[length])
            for room, part in zip(*map(jax.tree.leaves, (rooms[length], passes)), strict=True):
                room[row[batch.indices]] = part[:count]
            bar.update(count)
    # One length after another, so that while moving to a device at most one is in memory twice.
    by_length = {n: devices.place(rooms.pop(n), mesh, devices.WHOLE) for n in list(rooms)}
    return CleanStates(by_length, row)


def check_fits(model: Model, params: Any, texts: Sequence[Encoded], limit: int) -> None:
    """Raises: UserError if the clean passes of all texts need more memory than is free.

    They are first made on the host, then moved to each device, length by length: where the devices
    are the host, the passes of one length are in its memory once more.
    """
    by_length = sizes_in_bytes(functools.partial(clean_pass, model, params), texts, limit)
    needed, free = sum(by_length.values()), psutil.virtual_memory().available
    if (on_device := _free_on_device()) is None:
        needed = needed * jax.local_device_count() + max(by_length.values())
    else:
        free = min(free, on_device)
    if needed > free:
        raise UserError(
            f"the clean states of {len(texts)} texts need {needed / GIB:.1f} GiB, but only "
            f"{free / GIB:.1f} GiB are free: train without --cache-states"
        )


def _room(passes: Clean, texts: int) -> Clean:
    """Arrays like the passes of a batch, with a row for every text."""
    return jax.tree.map(lambda array: np.empty((texts, *array.shape[1:]), array.dtype), passes)


def _lengths(texts: Sequence[Encoded], limit: int) -> list[int]:
    return [batches.padded_length(len(text.ids), limit) for text in texts]


def sizes_in_bytes(
    clean: Callable[[TextInputs], Clean], texts: Sequence[Encoded], limit: int
) -> dict[int, int]:
    """The memory that the clean passes of all texts take, by padded length, from their shapes."""
    lengths, sizes = _lengths(texts, limit), {}
    for length in set(lengths):
        one = jax.eval_shape(clean, batches.pad([texts[lengths.index(length)]], length))
        per_text = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
        sizes[length] = per_text * lengths.count(length)
    return sizes


def _free_on_device() -> int | None:
    """The bytes that are free on a device of this host; None if that is the host itself."""
    if stats := jax.local_devices()[0].memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return None
