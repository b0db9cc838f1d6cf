"""What is made ahead of time is what would have been made in time, and no more of it."""

import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.runtime.prefetch import prefetched

PATIENCE = 600  # seconds


@given(st.lists(st.integers()), st.integers(1, 5))
def test_all_items_come_in_their_order(items, ahead):
    assert list(prefetched(items, ahead)) == items


def test_so_many_are_made_ahead_and_no_more():
    made, another = [], threading.Semaphore(0)

    def numbers():
        for number in itertools.count():
            made.append(number)
            another.release()
            yield number

    items = prefetched(numbers(), 2)
    for taken, fresh in ((1, 3), (2, 1)):
        next(items)
        assert all(another.acquire(timeout=PATIENCE) for _ in range(fresh))
        time.sleep(0.05)  # in which one too many may be made
        assert made == list(range(taken + 2))
    items.close()


def test_the_next_item_is_made_while_the_last_one_is_used():
    in_use = threading.Event()

    def source():
        yield "first"
        assert in_use.wait(PATIENCE)
        yield "second"

    items = prefetched(source(), 1)
    next(items)
    in_use.set()
    assert next(items) == "second"


def test_an_error_comes_in_the_place_of_its_item():
    def source():
        yield 1
        yield 2
        raise ValueError("no third")

    items = prefetched(source(), 3)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="no third"):
        next(items)


def test_closing_ends_the_thread():
    items = prefetched(itertools.count(), 2)
    next(items)
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    items.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
