"""Texts in rows that they share: each whole, where it is said to be, and little room left over."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data.packing import ROW, PackedBatch, best_fit, packed
from diffmask_jax.data.wordpieces import Encoded

lengths = st.lists(st.integers(1, 100), min_size=1, max_size=60)


def texts_of(lengths) -> list[Encoded]:
    """Text number i is i + 1, as often as it is long."""
    nothing = {"tokens": (), "offsets": (), "words": (), "parts": (), "shown": ()}
    return [
        Encoded(ids=np.full(n, i + 1), segments=np.arange(n) % 2, **nothing)
        for i, n in enumerate(lengths)
    ]


@given(lengths, st.integers(1, 7), st.sampled_from([40, 64, 512]))
@settings(deadline=None)
def test_every_text_stands_once_where_it_is_said_to(lengths, rows, limit):
    seen, length = [], min(ROW, limit)
    for batch in packed(texts_of(lengths), rows, 4, limit):
        seen.extend(batch.indices.tolist())
        if not isinstance(batch, PackedBatch):
            assert all(lengths[index] > length for index in batch.indices)
            continue
        tokens, _, valid, places = batch.inputs
        assert tokens.shape == valid.shape == places.shape == (rows, length)
        assert valid.sum() == sum(lengths[index] for index in batch.indices)
        assert (places[~valid] == 0).all() and (tokens[~valid] == 0).all()
        for index, row, start in zip(batch.indices, batch.row, batch.start, strict=True):
            here = row, slice(start, start + lengths[index])
            np.testing.assert_array_equal(tokens[here], index + 1)
            np.testing.assert_array_equal(places[here], np.arange(lengths[index]))
            assert valid[here].all()
    assert sorted(seen) == list(range(len(lengths)))


@given(lengths)
def test_no_two_rows_would_fit_into_one(lengths):
    rows = best_fit(lengths, ROW)
    filled = sorted(sum(lengths[index] for index in row) for row in rows)
    assert all(0 < pieces <= ROW for pieces in filled)
    assert len(filled) < 2 or filled[0] + filled[1] > ROW


def test_a_row_is_shared_by_the_longest_that_fit():
    assert best_fit([10, 40, 60, 24, 4, 65], 64) == [[2, 4], [1, 3], [0]]
