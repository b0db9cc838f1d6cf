"""Sets of tokens of one size, each computed from its number, so that none need be stored."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

MOST = 2**31 - 1


@functools.lru_cache(maxsize=8)
def binomials(most: int) -> Int[np.ndarray, "N N"]:
    """C(n, k) at [n, k] for n, k ≤ most, at most MOST."""
    table = np.zeros((most + 1, most + 1), np.int64)
    table[:, 0] = 1
    for n in range(1, most + 1):
        table[n, 1:] = np.minimum(table[n - 1, 1:] + table[n - 1, :-1], MOST)
    return table.astype(np.int32)


@functools.lru_cache(maxsize=8)
def binomial_sums(most: int) -> Int[np.ndarray, "N N"]:
    """Σ_{j≤k} C(n, j) at [n, k] for n, k ≤ most, at most MOST."""
    sums = np.cumsum(binomials(most).astype(np.int64), axis=1)
    return np.minimum(sums, MOST).astype(np.int32)


def combinations(
    numbers: Int[Array, " N"], size: Int[Array, ""], free: Bool[Array, " T"]
) -> Bool[Array, "N T"]:
    """The sets of `size` free positions with the given numbers, counted from 0.

    They are ordered as in `itertools.combinations`: those with the first free position come first.
    A number beyond the last set gives a set of fewer positions, or an empty one.
    """
    table = jnp.asarray(binomials(len(free)))
    behind = jnp.cumsum(free[::-1])[::-1] - free

    def place(
        carry: tuple[Array, Array], position: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        """Which sets hold the next position: the first C(after, missing − 1) of them."""
        number, missing = carry
        is_free, after = position
        holding = table[after, jnp.maximum(missing - 1, 0)]
        possible = is_free & (missing > 0)
        held = possible & (number < holding)
        return (jnp.where(possible & ~held, number - holding, number), missing - held), held

    start = numbers, jnp.full(numbers.shape, size, jnp.int32)
    _, held = jax.lax.scan(place, start, (free, behind))
    return held.T
