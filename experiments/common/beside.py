"""Running independent parts of an experiment concurrently, in threads."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from experiments.common.report import Timer


def beside(parts: Mapping[str, Callable[[], Any]], timer: Timer) -> dict[str, Any]:
    """The results of all parts, which are started in order, as many at a time as there are cores.

    Meant for parts of small operations that keep at most one core busy; JAX computes and compiles
    without Python's lock. An error of the first failing part, in order, is raised.
    """

    def run(name: str) -> Any:
        with timer.part(name):
            return jax.block_until_ready(parts[name]())

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        return dict(zip(parts, pool.map(run, parts), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
