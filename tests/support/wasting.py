"""Work that takes more memory to prepare than to do, in a module that is soon imported."""

from collections.abc import Callable

import numpy as np


def wasteful(numbers: int) -> Callable[[], object]:
    """Frees twice as much as it needs where the heap cannot shrink by itself."""
    below = [bytes(100_000) for _ in range(16 * numbers // 100_000)]
    above = below.pop()
    below.clear()
    return lambda: (np.ones(numbers), above)
