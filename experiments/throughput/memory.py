"""The peak memory of one way of training, measured in a process of its own."""

import contextlib
import ctypes
import gc
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import psutil

from diffmask_jax.runtime.memory import MIB


def peak_mib(build: Callable[..., Callable[[], None]], *arguments: Any) -> float | None:
    """The peak, in MiB, of running what `build(*arguments)` returns in a fresh process.

    On a CPU it is the growth of the process after it has loaded both frameworks, whichever of them
    trains: weights, data, programs and activations. On a GPU it is what the framework's allocator
    gave out. None if the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_measure, args=(child, build, arguments))
    process.start()
    child.close()
    try:
        return parent.recv()
    except EOFError:
        return None
    finally:
        process.join()


def _measure(answer: Any, build: Callable[..., Callable[[], None]], arguments: Any) -> None:
    import jax
    import torch  # noqa: F401  both, so that neither side is charged for the other's

    jax.devices()
    before = psutil.Process().memory_info().rss
    run = build(*arguments)
    _give_back()
    process, done = psutil.Process(), threading.Event()
    peak = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    answer.send((_on_gpu() or peak[0] - before) / MIB)


def _give_back() -> None:
    """Free what only building needed: JAX's copy of PyTorch's weights, a compiler's pages."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _on_gpu() -> int:
    """The peak on a GPU, in bytes, of the framework that trains; 0 without a GPU."""
    import sys

    import jax

    stats = jax.devices()[0].memory_stats() or {}
    ours = stats.get("peak_bytes_in_use", 0)
    torch = sys.modules.get("torch")
    theirs = torch.cuda.max_memory_allocated() if torch and torch.cuda.is_available() else 0
    return max(ours, theirs)
