"""Independent parts of an experiment beside each other, in threads."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from experiments.common.report import Timer


def beside(parts: Mapping[str, Callable[[], Any]], timer: Timer) -> dict[str, Any]:
    """What every part gives; as many are under way as there are cores, and they are begun in order.

    For parts of small operations, none of which keeps more than a core busy: JAX computes and
    compiles without Python's lock. The first part that fails, in order, fails them all.
    """

    def run(name: str) -> Any:
        with timer.part(name):
            return jax.block_until_ready(parts[name]())

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        return dict(zip(parts, pool.map(run, parts), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
