"""The search against all subsets, for whatever may be said of them, and what it certifies."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_sets import SUBSETS, T, judge_by, number_of, problem
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from diffmask_jax.attribution.judging import Judged
from diffmask_jax.attribution.subset_search import Effort, check_effort, search
from diffmask_jax.errors import UserError

PLENTY = Effort(passes=2 * 2**T, width=3, batch=8)


@jax.jit
def found_in(divergences, feasible, valid, always, passes):
    judge = judge_by(divergences, feasible)
    return search(judge, valid, always, PLENTY._replace(passes=passes))


def optima_of(divergences, feasible, valid, always):
    """The feasible subsets of the smallest size, the closest first."""
    always = always & valid
    possible = (SUBSETS | ~always).all(1) & (~SUBSETS | valid).all(1)
    feasible = possible & (feasible | (~(SUBSETS ^ valid)).all(1))
    sizes = SUBSETS.sum(1)
    optimal = np.flatnonzero(feasible & (sizes == sizes[feasible].min()))
    return SUBSETS[optimal[np.argsort(divergences[optimal])]]


def check(found, tables, passes):
    """Whatever the budget: what is said is true."""
    _, feasible, valid, always = tables
    always = always & valid
    free, optima = int((valid & ~always).sum()), optima_of(*tables)
    optimum, size, lower = optima[0].sum(), int(found.size), int(found.lower)
    number = number_of(found.kept)
    assert found.kept.sum() == size
    assert feasible[number] or (found.kept == valid).all()
    assert (found.kept & ~valid).sum() == (always & ~found.kept).sum() == 0
    assert lower <= optimum <= size
    assert found.complete == (lower == size)
    assert found.enumerated <= found.passes <= passes
    below = lower - always.sum()
    proven = sum(math.comb(free, k) for k in range(below))
    every = proven + math.comb(free, below)
    assert found.enumerated == (every if found.optima > 0 else proven)
    if found.optima > 0:
        assert found.complete and found.optima == len(optima)
        np.testing.assert_allclose(found.share, optima.mean(0), rtol=1e-6)
        np.testing.assert_array_equal(found.kept, optima[0])
    else:
        np.testing.assert_array_equal(found.share, found.kept)


seeds = st.integers(0, 2**31 - 1)


@hypothesis_settings(max_examples=150)
@given(seed=seeds)
def test_with_enough_passes_it_finds_all_optima(seed):
    tables = problem(seed)
    found = jax.device_get(found_in(*tables, PLENTY.passes))
    check(found, tables, PLENTY.passes)
    assert found.complete and found.optima > 0


@pytest.mark.parametrize("passes", [1, 12, 20, 30, 45])
def test_with_few_passes_it_claims_no_more_than_it_knows(passes):
    complete = 0
    for seed in range(40):
        tables = problem(seed)
        found = jax.device_get(found_in(*tables, passes))
        check(found, tables, passes)
        complete += bool(found.complete)
    assert passes == 1 or 0 < complete < 40, "the problems must not be all alike"


def test_every_set_that_is_judged_counts():
    """Counted where the sets come in, one by one."""
    tables, seen = problem(3), []

    def judge(sets):
        numbers = sets @ (2 ** jnp.arange(T - 1, -1, -1))
        jax.debug.callback(lambda number: seen.append(int(number)), numbers[0])
        return judge_by(*map(jnp.asarray, tables[:2]))(sets)

    valid = jnp.ones(T, bool)
    run = jax.jit(lambda passes: search(judge, valid, ~valid, Effort(passes, width=3, batch=1)))
    for passes in (1, 2, 12, 25, 40, 60):
        seen.clear()
        found = run(passes)
        jax.effects_barrier()
        assert len(seen) == found.passes <= passes


def planted(tokens, length):
    """Feasible is the planted set, and it alone; every token that is missing costs one nat."""
    goal = jnp.isin(jnp.arange(length), jnp.array(tokens))

    def judge(sets):
        missing = jnp.sum(goal & ~sets, axis=-1).astype(jnp.float32)
        return Judged(missing, jnp.all(sets == goal, axis=-1))

    return judge


def test_the_beam_finds_what_is_too_large_for_enumeration_and_claims_no_proof():
    """Elimination cannot leave the whole text, and of 30 tokens not all pairs can be judged."""
    effort, valid = Effort(passes=600, width=4, batch=16), jnp.ones(30, bool)
    run = jax.jit(lambda judge: search(judge, valid, ~valid, effort), static_argnums=0)
    found = run(planted((3, 8, 9, 21, 29), 30))
    np.testing.assert_array_equal(np.flatnonzero(found.kept), (3, 8, 9, 21, 29))
    assert found.size == 5 and found.optima == 0 and not found.complete
    assert found.lower == 2 and found.enumerated == 1 + 30
    # One round of elimination, all sets of 0 and 1 tokens, 4 times one of 29 more in 4 sets.
    assert found.passes <= 59 + 31 + 4 * 4 * 29


def test_one_set_and_no_more_makes_a_size_the_optimum():
    """All sets below the bound are judged; those of its size need not be."""
    valid = jnp.ones(12, bool)

    def judge(sets):
        sizes = jnp.sum(sets, axis=-1)
        return Judged((12 - sizes).astype(jnp.float32), sizes >= 6)

    run = jax.jit(lambda passes: search(judge, valid, ~valid, Effort(passes, 4, 32)))
    # 1 + 12 + 66 + 220 + 495 + 792 = 1586 sets are smaller, and 924 of that size.
    found = run(1800)
    assert found.size == found.lower == 6 and found.complete
    assert found.optima == 0 and found.enumerated == 1586
    found = run(2600)
    assert found.size == found.lower == 6 and found.optima == 924
    np.testing.assert_allclose(found.share, 0.5)


def test_no_effort_is_refused():
    with pytest.raises(UserError, match="width must be at least 1, not 0"):
        check_effort(Effort(width=0))
    with pytest.raises(UserError, match="budget must be at most 1073741824 passes, not 2147483648"):
        check_effort(Effort(passes=2**31))
