"""Short texts that share rows: almost no padding, and one shape for all.

A model that reads such rows (`Model.packs`) keeps their texts apart. SST's sentences fill 99% of
them, whereas batches of few lengths have a fifth of padding; and one program serves all.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from diffmask_jax.data.batches import Batch, ascending
from diffmask_jax.data.inputs import PackedInputs
from diffmask_jax.data.wordpieces import Encoded

ROW = 64  # positions: in longer rows attention costs more than packing saves


class PackedBatch(NamedTuple):
    """N texts of one batch: their numbers in the data set, and the row and place of each."""

    indices: Int[np.ndarray, " N"]
    row: Int[np.ndarray, " N"]
    start: Int[np.ndarray, " N"]
    inputs: PackedInputs


def packed(
    texts: Sequence[Encoded], rows: int, batch: int, limit: int
) -> Iterator[PackedBatch | Batch]:
    """Every text once: those of at most ROW pieces packed in batches of `rows` rows.

    Longer ones come in batches of `batch` rows, as in `ascending`. limit: the model's largest
    number of positions.
    """
    length = min(ROW, limit)
    lengths = [len(text.ids) for text in texts]
    long = [index for index, pieces in enumerate(lengths) if pieces > length]
    filled = best_fit(lengths, length)
    for start in range(0, len(filled), rows):
        yield _together(texts, filled[start : start + rows], rows, length)
    for one in ascending([texts[index] for index in long], batch, limit):
        yield one._replace(indices=np.array(long)[one.indices])


def best_fit(lengths: Sequence[int], length: int) -> list[list[int]]:
    """The texts of each row, by best fit: the longest first, each where it leaves the least room.

    Texts that are longer than a row are in none.
    """
    rows: list[list[int]] = []
    with_room: list[list[list[int]]] = [[] for _ in range(length + 1)]
    short = (index for index, pieces in enumerate(lengths) if pieces <= length)
    for index in sorted(short, key=lambda index: -lengths[index]):
        room = next((n for n in range(lengths[index], length + 1) if with_room[n]), length)
        if with_room[room]:
            row = with_room[room].pop()
        else:
            rows.append(row := [])
        row.append(index)
        with_room[room - lengths[index]].append(row)
    return rows


def _together(
    texts: Sequence[Encoded], filled: Sequence[Sequence[int]], rows: int, length: int
) -> PackedBatch:
    tokens, segments, places = np.zeros((3, rows, length), np.int32)
    valid = np.zeros((rows, length), bool)
    found = []
    for row, members in enumerate(filled):
        start = 0
        for index in members:
            text = texts[index]
            here = row, slice(start, start + len(text.ids))
            tokens[here], segments[here], valid[here] = text.ids, text.segments, True
            places[here] = np.arange(len(text.ids))
            found.append((index, row, start))
            start += len(text.ids)
    indices, row_of, starts = np.array(found).T
    return PackedBatch(indices, row_of, starts, PackedInputs(tokens, segments, valid, places))
