"""Elimination ends at a feasible set that nothing can be dropped from, and keeps to its budget."""

import jax
import numpy as np
import pytest
from drawn_sets import T, judge_by, number_of, problem
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from diffmask_jax.attribution.elimination import eliminate

PASSES = T**2  # of rounds that each drop one token: Σ 2m − 1


@jax.jit
def eliminated(divergences, feasible, valid, always, passes=PASSES):
    judge = judge_by(divergences, feasible)
    return eliminate(judge, valid, valid & ~always, passes, batch=4)


@hypothesis_settings(max_examples=50)
@given(seed=st.integers(0, 2**31 - 1))
def test_elimination_ends_where_no_token_can_go(seed):
    tables = _, feasible, valid, always = problem(seed)
    best, passes = jax.device_get(eliminated(*tables))
    assert passes <= PASSES
    for token in np.flatnonzero(best.kept & ~always):
        smaller = best.kept & (np.arange(T) != token)
        assert not feasible[number_of(smaller)]
    assert (best.kept == valid).all() or feasible[number_of(best.kept)]


@pytest.mark.parametrize("passes", [1, 10, 11, 20])
def test_a_round_is_begun_only_if_it_can_be_paid(passes):
    """Of six tokens the first round takes 11 passes."""
    for seed in range(20):
        divergences, feasible, _, _ = problem(seed)
        best, spent = eliminated(divergences, feasible, np.ones(T, bool), np.zeros(T, bool), passes)
        assert spent <= passes and (spent >= 11) == (passes >= 11)
        assert spent > 0 or best.kept.all()
