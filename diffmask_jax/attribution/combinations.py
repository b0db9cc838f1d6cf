"""Sets of tokens of one size, each made from its number alone: nothing is ever listed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

MOST = 2**31 - 1


@functools.lru_cache(maxsize=8)
def binomials(most: int) -> Int[np.ndarray, "N N"]:
    """C(n, k) at [n, k] for n, k ≤ most; MOST where there are more."""
    table = np.zeros((most + 1, most + 1), np.int64)
    table[:, 0] = 1
    for n in range(1, most + 1):
        table[n, 1:] = np.minimum(table[n - 1, 1:] + table[n - 1, :-1], MOST)
    return table.astype(np.int32)


@functools.lru_cache(maxsize=8)
def binomial_sums(most: int) -> Int[np.ndarray, "N N"]:
    """Σ_{j≤k} C(n, j) at [n, k] for n, k ≤ most; MOST where there are more."""
    sums = np.cumsum(binomials(most).astype(np.int64), axis=1)
    return np.minimum(sums, MOST).astype(np.int32)


def combinations(
    numbers: Int[Array, " N"], size: Int[Array, ""], free: Bool[Array, " T"]
) -> Bool[Array, "N T"]:
    """The sets of `size` free positions with these numbers, counted from 0.

    In the order of `itertools.combinations`: those that hold the first free position come first.
    A number beyond the last set gives one of fewer positions, or of none.
    """
    table = jnp.asarray(binomials(len(free)))
    behind = jnp.cumsum(free[::-1])[::-1] - free

    def place(
        carry: tuple[Array, Array], position: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        """Whether the sets hold the next position: the first C(behind, missing − 1) of them do."""
        number, missing = carry
        is_free, after = position
        holding = table[after, jnp.maximum(missing - 1, 0)]
        possible = is_free & (missing > 0)
        held = possible & (number < holding)
        return (jnp.where(possible & ~held, number - holding, number), missing - held), held

    start = numbers, jnp.full(numbers.shape, size, jnp.int32)
    _, held = jax.lax.scan(place, start, (free, behind))
    return held.T
