"""Making the next items while the last one is being used."""

import collections
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(source: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """The items of `source` in their order, up to `ahead` of them made before they are asked for.

    One thread makes them. What it raises is raised where the item would have come; closing the
    iterator ends it.
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
