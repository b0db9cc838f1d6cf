"""Preparing the next items while the current one is being used."""

import collections
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(source: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """The items of `source` in order, up to `ahead` of them prepared in advance by one thread.

    Its exceptions are raised in place of the item; closing the iterator ends the thread.
    """
    items, end = iter(source), object()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        coming = collections.deque(thread.submit(next, items, end) for _ in range(ahead))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for future in coming:
                future.cancel()
