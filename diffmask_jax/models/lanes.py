"""Sequences of unequal lengths, two to a lane: a short one fills what a long one leaves free.

Rows sorted by falling length are folded in the middle: row r shares a lane with row B − 1 − r. If
lengths are spread evenly all lanes are full, so that a loop over their positions reads hardly any
padding.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int


class Lanes(NamedTuple):
    """W lanes of P positions, known when the program is compiled. Folded arrays have time first.

    starts: where the second sequence of each lane begins; it ends where the lane does
    """

    starts: Int[np.ndarray, " W"]
    positions: int

    @property
    def begins(self) -> Bool[np.ndarray, "P W"]:
        """Where a second sequence begins: once in every lane."""
        return np.arange(self.positions)[:, None] == self.starts

    def fold(self, rows: Array) -> Array:
        """(B, T, …) -> (P, W, …), by slices, so that the gradient consists of slices as well."""
        width, rest = len(self.starts), [(0, 0)] * (rows.ndim - 2)
        rows = jnp.moveaxis(rows, 1, 0)[: self.positions]
        rows = jnp.pad(
            rows, [(0, self.positions - len(rows)), (0, 2 * width - rows.shape[1]), *rest]
        )
        second = rows[:, : width - 1 : -1]
        pieces, lane = [], 0
        for start, lanes in itertools.groupby(self.starts.tolist()):
            stop = lane + len(list(lanes))
            piece = second[: self.positions - start, lane:stop]
            pieces.append(jnp.pad(piece, [(start, 0), (0, 0), *rest]))
            lane = stop
        later = np.arange(self.positions)[:, None] >= self.starts
        later = later.reshape(later.shape + (1,) * len(rest))
        return jnp.where(later, jnp.concatenate(pieces, axis=1), rows[:, :width])

    def unfold(self, first: Array, second: Array, rows: int) -> Array:
        """The results of the lanes' first and second sequences, (W, …) each -> (B, …)."""
        return jnp.concatenate([first, second[::-1]])[:rows]


def make_lanes(reading: Sequence[int], rows: int) -> Lanes:
    """The lanes of rows sorted by falling length.

    reading: how many of them are still read at each position. If the number of rows is odd, the
    first has a lane to itself, whose second sequence is padding.
    """
    width = -(-rows // 2)
    lengths = np.sum(np.asarray(reading)[:, None] > np.arange(2 * width), axis=0)
    first, second = lengths[:width], np.maximum(lengths[: width - 1 : -1], 1)
    positions = int(np.max(first + second))
    return Lanes(positions - second, positions)
