"""Sets made from their numbers against those that itertools lists."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution.combinations import (
    MOST,
    binomial_sums,
    binomials,
    combinations,
)

made = jax.jit(combinations)


@pytest.mark.parametrize("free", [(1, 1, 1, 1, 1, 1, 1), (0, 1, 1, 0, 1, 0, 1), (0,) * 7])
def test_they_are_itertools_in_the_same_order(free):
    places = np.flatnonzero(free)
    for size in range(len(places) + 1):
        expected = list(itertools.combinations(places, size))
        sets = made(jnp.arange(40), size, jnp.array(free, bool))
        found = [tuple(np.flatnonzero(row)) for row in sets[: len(expected)]]
        assert found == expected


def test_large_numbers_are_right_where_there_are_too_many_sets_to_count():
    """C(100, 6) is over 2³¹: the number of a set says how many lie before it."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**30, 50)
    sets = np.asarray(made(jnp.asarray(numbers, jnp.int32), 6, jnp.ones(100, bool)))
    for number, row in zip(numbers, sets, strict=True):
        chosen = np.flatnonzero(row)
        starts = [0, *(chosen[:-1] + 1)]
        before = sum(
            math.comb(99 - other, 5 - place)
            for place, (first, token) in enumerate(zip(starts, chosen, strict=True))
            for other in range(first, token)
        )
        assert len(chosen) == 6 and before == number


def test_the_tables_are_pascal_s_and_stop_at_the_largest_number():
    table, sums = binomials(40), binomial_sums(40)
    for n, k in itertools.product(range(41), repeat=2):
        assert table[n, k] == min(math.comb(n, k), MOST)
        assert sums[n, k] == min(sum(math.comb(n, j) for j in range(k + 1)), MOST)
