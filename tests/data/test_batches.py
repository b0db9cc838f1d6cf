"""Batches: every text where it belongs, few shapes, and an order that a resumed run repeats."""

import itertools
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data.batches import (
    LENGTHS,
    ascending,
    in_order,
    pad,
    padded_length,
    put_back,
    shuffled,
)
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=40)
TEXT_LENGTHS = [5, 40, 17, 3, 16, 90, 24, 25, 8, 33, 2, 70]


def texts_of(lengths) -> list[Encoded]:
    """Text number i is i + 1, as often as it is long."""
    return [
        Encoded(
            tokens=("t",) * n,
            ids=np.full(n, i + 1),
            offsets=(None,) * n,
            words=np.zeros(n, int),
            segments=np.arange(n) % 2,
            parts=np.zeros(n, int),
            shown=("t",) * n,
        )
        for i, n in enumerate(lengths)
    ]


def assert_rows_hold(tokens, valid, indices, lengths):
    for row, positions, index in zip(tokens, valid, indices, strict=True):
        expected = np.zeros(len(row), int)
        expected[: lengths[index]] = index + 1
        np.testing.assert_array_equal(row, expected)
        np.testing.assert_array_equal(positions, expected > 0)


def first_chunks(number: int, batch=2, steps=2, seed=0, start=0, lengths=TEXT_LENGTHS) -> list:
    chunks = shuffled(texts_of(lengths), batch, steps, seed, start)
    return list(itertools.islice(chunks, number))


# --- shapes ----------------------------------------------------------------------------------


@given(st.integers(1, 40_000), st.sampled_from([20, 77, 512, 5000]))
def test_a_padded_length_is_the_shortest_that_holds_the_text_and_that_the_model_takes(n, limit):
    padded = padded_length(n, limit)
    assert padded >= n
    assert padded <= max(n, limit)
    assert padded in {*LENGTHS, limit, n}
    assert not any(n <= shorter < padded for shorter in LENGTHS)


def test_padded_lengths_by_hand():
    assert [padded_length(n) for n in (1, 16, 17, 84, 512, 513)] == [16, 16, 24, 96, 512, 768]
    assert [padded_length(n) for n in (770, 5000, 8192, 8193)] == [1024, 6144, 8192, 12288]
    assert [padded_length(n, 512) for n in (385, 512, 513)] == [512, 512, 513]
    assert [padded_length(n, 20) for n in (3, 17, 20, 25)] == [16, 20, 20, 25]


def test_padding():
    inputs = pad(texts_of([3, 1]), 4)
    np.testing.assert_array_equal(inputs.tokens, [[1, 1, 1, 0], [2, 0, 0, 0]])
    np.testing.assert_array_equal(inputs.valid, [[True] * 3 + [False], [True] + [False] * 3])
    np.testing.assert_array_equal(inputs.segments, [[0, 1, 0, 0], [0, 0, 0, 0]])


# --- in order --------------------------------------------------------------------------------


@given(lengths, st.integers(1, 7))
@settings(deadline=None)
def test_in_order_every_text_comes_once_in_the_row_of_its_number(lengths, batch):
    seen = []
    for indices, inputs in in_order(texts_of(lengths), batch):
        assert inputs.tokens.shape[0] == batch
        assert inputs.tokens.shape[1] in LENGTHS
        filled = [*indices, *[indices[0]] * (batch - len(indices))]
        assert_rows_hold(inputs.tokens, inputs.valid, filled, lengths)
        assert {padded_length(lengths[i]) for i in indices} == {inputs.tokens.shape[1]}
        seen.extend(indices.tolist())
    assert sorted(seen) == list(range(len(lengths)))


def test_in_order_starts_with_the_shortest_shape_and_fills_up_one_batch_a_shape():
    batches = list(in_order(texts_of([30, 3, 40, 31, 5, 32]), 2))
    assert [b.indices.tolist() for b in batches] == [[1, 4], [0, 3], [5], [2]]
    assert [b.inputs.tokens.shape for b in batches] == [(2, 16), (2, 32), (2, 32), (2, 40)]


def test_in_order_nothing_is_padded_beyond_what_the_model_takes():
    shapes = [b.inputs.tokens.shape for b in in_order(texts_of([3, 17, 20]), 2, limit=20)]
    assert shapes == [(2, 16), (2, 20)]


@given(lengths, st.integers(1, 7), st.sampled_from([in_order, ascending]))
@settings(deadline=None)
def test_what_is_found_of_batches_is_put_back_in_the_order_of_the_data(lengths, batch, stream):
    """Of trees of arrays, rows that only fill up a batch left out."""
    texts = texts_of(lengths)
    found = ((b.indices, {"first": b.inputs.tokens[:, 0]}) for b in stream(texts, batch))
    whole = put_back(found, jax.tree.map)
    np.testing.assert_array_equal(whole["first"], [text.ids[0] for text in texts])


# --- ascending -------------------------------------------------------------------------------


@given(lengths, st.integers(1, 7))
@settings(deadline=None)
def test_ascending_every_text_comes_once_and_only_the_first_batch_is_filled_up(lengths, batch):
    seen, before = [], 0
    for number, (indices, inputs) in enumerate(ascending(texts_of(lengths), batch)):
        own = [lengths[index] for index in indices]
        assert before <= min(own) and own == sorted(own)
        assert len(own) == batch or number == 0
        assert inputs.tokens.shape == (batch, padded_length(own[-1]))
        filled = [*indices, *[indices[0]] * (batch - len(indices))]
        assert_rows_hold(inputs.tokens, inputs.valid, filled, lengths)
        seen.extend(indices.tolist())
        before = own[-1]
    assert sorted(seen) == list(range(len(lengths)))


def test_ascending_shorter_texts_stand_among_longer_ones():
    batches = list(ascending(texts_of([30, 3, 40, 31, 5]), 2))
    assert [b.indices.tolist() for b in batches] == [[1], [4, 0], [3, 2]]
    assert [b.inputs.tokens.shape for b in batches] == [(2, 16), (2, 32), (2, 40)]
    assert list(ascending([], 2)) == []


# --- shuffled --------------------------------------------------------------------------------


def test_shuffled_chunks_hold_their_texts_in_few_shapes():
    for indices, inputs in first_chunks(30, batch=2, steps=3):
        assert indices.shape == (3, 2)
        assert inputs.tokens.shape[:2] == (3, 2) and inputs.tokens.shape[2] in LENGTHS
        rows = inputs.tokens.reshape(6, -1), inputs.valid.reshape(6, -1), indices.reshape(6)
        assert_rows_hold(*rows, TEXT_LENGTHS)


def test_the_seed_alone_makes_the_order():
    first, again, other = (
        [chunk.indices.tolist() for chunk in first_chunks(10, seed=seed)] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@given(st.integers(0, 12))
@settings(deadline=None, max_examples=13)
def test_a_resumed_run_goes_on_where_it_stopped(start):
    resumed, whole = first_chunks(4, start=start), first_chunks(start + 4)[start:]
    for ours, theirs in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        for a, b in zip(ours.inputs, theirs.inputs, strict=True):
            np.testing.assert_array_equal(a, b)


def queued_one_by_one(lengths, size, seed):
    """The order that runs of the first version have, a text at a time."""
    queues: dict[int, list[int]] = {}
    rng = np.random.default_rng(seed)
    while True:
        for index in rng.permutation(len(lengths)):
            queue = queues.setdefault(padded_length(lengths[index]), [])
            queue.append(int(index))
            if len(queue) == size:
                yield queue
                queues[padded_length(lengths[index])] = []


@given(lengths, st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=30)
def test_the_order_is_that_of_filling_one_queue_a_length(lengths, batch, steps, seed):
    batch = min(batch, len(lengths))
    found = first_chunks(20, batch, steps, seed, lengths=lengths)
    expected = itertools.islice(queued_one_by_one(lengths, batch * steps, seed), 20)
    assert [chunk.indices.reshape(-1).tolist() for chunk in found] == list(expected)


def test_steps_that_a_resumed_run_passes_over_cost_no_loop_over_the_texts():
    """A million are passed over in seconds: as many calls a chunk, however many texts it has."""

    def calls(count: int, start: int) -> int:
        seen = itertools.count()
        stream = shuffled(texts_of([5, 20, 40] * count), count // 10, 4, seed=0, start=start)
        sys.setprofile(lambda *_: next(seen))
        try:
            next(stream)
        finally:
            sys.setprofile(None)
        return next(seen)

    few, many = (calls(count, 300) - calls(count, 0) for count in (100, 1000))
    assert 0 < many < 1.1 * few


def test_over_epochs_every_text_is_seen_alike_often():
    """A text waits in its queue for a chunk to fill, so counts differ by what a chunk holds."""
    chunks = first_chunks(120, batch=2, steps=2)
    counts = np.bincount(np.concatenate([c.indices.reshape(-1) for c in chunks]), minlength=12)
    assert counts.sum() == 480
    assert counts.min() >= 40 - 4 and counts.max() <= 40 + 4


def test_of_one_shape_an_epoch_is_a_permutation_and_every_epoch_another():
    chunks = [c.indices.reshape(-1) for c in first_chunks(6, batch=2, steps=2, lengths=[5] * 8)]
    epochs = np.stack(chunks).reshape(3, 8)
    for epoch in epochs:
        assert sorted(epoch) == list(range(8))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_fewer_texts_than_a_batch_are_refused():
    with pytest.raises(UserError, match="12 texts do not fill one batch of 13: lower batch_size"):
        first_chunks(1, batch=13)
    assert len(first_chunks(1, batch=12)) == 1
