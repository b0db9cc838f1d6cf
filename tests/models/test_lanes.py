"""Lanes: every cell that is read stands in one, once and in order, and comes back to its row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.models.lanes import make_lanes


@pytest.mark.parametrize(
    "reading", [(8, 8, 6, 4, 2), (5, 5, 4, 4, 2, 2, 1), (6, 6, 6), (1, 1), (7, 1, 1, 1), (4, 0, 0)]
)
def test_lanes_hold_every_sequence_once(reading):
    rows, positions = reading[0], len(reading)
    lengths = [sum(count > row for count in reading) for row in range(rows)]
    cells = 1 + np.arange(rows * positions).reshape(rows, positions)
    cells = np.where(np.arange(positions) < np.array(lengths)[:, None], cells, 0)
    lanes = make_lanes(reading)
    folded, wide = jax.jit(lambda c: (lanes.fold(c), lanes.fold(jnp.stack([c, -c], -1))))(cells)
    assert folded.shape == (lanes.positions, -(-rows // 2)) == lanes.begins.shape
    np.testing.assert_array_equal(wide, np.stack([folded, -folded], -1))
    assert (lanes.begins.sum(axis=0) == 1).all()

    sequences = [
        np.split(lane, [begin]) for lane, begin in zip(folded.T, lanes.starts, strict=True)
    ]
    first, second = zip(*sequences, strict=True)
    for row, found in enumerate([*first, *second[::-1]][:rows]):
        np.testing.assert_array_equal(found[found > 0], cells[row, : lengths[row]])
    numbers = jnp.arange(len(first))
    unfolded = lanes.unfold(numbers, -1 - numbers, rows)
    np.testing.assert_array_equal(unfolded, [*numbers, *(-1 - numbers[::-1])][:rows])


def test_lengths_spread_evenly_fill_all_lanes():
    lanes = make_lanes(range(20, 0, -2))
    assert lanes.positions == 11 and len(lanes.starts) == 10
