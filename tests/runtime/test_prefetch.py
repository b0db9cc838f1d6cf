"""What is made ahead of time is what would have been made in time, and no more of it."""

import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.runtime.prefetch import prefetched


@given(st.lists(st.integers()), st.integers(1, 5))
def test_all_items_come_in_their_order(items, ahead):
    assert list(prefetched(items, ahead)) == items


def test_so_many_are_made_ahead_and_no_more():
    made = []

    def numbers():
        for number in itertools.count():
            made.append(number)
            yield number

    items = prefetched(numbers(), 2)
    for taken in (1, 2):
        next(items)
        deadline = time.monotonic() + 10
        while len(made) < taken + 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert made == list(range(taken + 2))
    items.close()


def test_the_next_item_is_made_while_the_last_one_is_used():
    in_use = threading.Event()

    def source():
        yield "first"
        assert in_use.wait(10)
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
