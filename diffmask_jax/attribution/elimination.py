"""Backward elimination: drop the least missed tokens, as many at once as possible."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.attribution.judging import Judge, Judged, in_batches


class Best(NamedTuple):
    """The best feasible set so far, and its divergence in nats."""

    kept: Bool[Array, " T"]
    divergence: Float[Array, ""]


class _State(NamedTuple):
    """The state of an elimination between two rounds.

    missed: how much each token of the set is missed when it alone is dropped; only the order counts
    spent: how many sets were judged
    shrinks: whether the last round found a smaller set
    """

    best: Best
    missed: Float[Array, " T"]
    spent: Int[Array, ""]
    shrinks: Bool[Array, ""]


def eliminate(
    judge: Judge,
    valid: Bool[Array, " T"],
    free: Bool[Array, " T"],
    passes: Int[Array, ""] | int,
    batch: int,
) -> tuple[Best, Int[Array, ""]]:
    """A feasible set from which no token can be dropped, if the budget allows; the passes spent.

    free: the tokens that may be dropped
    passes: how many sets may be judged
    batch: how many sets are judged at once

    A round judges the m sets that lack one of the m droppable tokens, and the m − 1 sets that lack
    the 2, 3, … least missed of them, according to the round before. The smallest feasible set is
    where the next round starts. In the first round the last tokens count as the least missed.
    """

    def unsettled(state: _State) -> Bool[Array, ""]:
        count = jnp.sum(state.best.kept & free)
        return state.shrinks & (count > 0) & (state.spent + 2 * count - 1 <= passes)

    start = _State(
        Best(valid, jnp.zeros(())),
        -jnp.arange(len(valid), dtype=jnp.float32),
        jnp.zeros((), jnp.int32),
        jnp.ones((), bool),
    )
    round_of = functools.partial(_round, judge, free, batch)
    end = jax.lax.while_loop(unsettled, round_of, start)
    return end.best, end.spent


def _round(judge: Judge, free: Bool[Array, " T"], batch: int, state: _State) -> _State:
    """One round; without a smaller feasible set, its best set is that of the round before."""
    best, missed, spent, _ = state
    length = len(free)
    droppable = best.kept & free
    count = jnp.sum(droppable)
    order = jnp.lexsort((missed, ~droppable))  # droppable tokens come first
    sets = functools.partial(_without, best.kept, droppable, jnp.argsort(order))
    nothing = Judged(jnp.full(2 * length, jnp.inf), jnp.zeros(2 * length, bool))
    judged = in_batches(judge, sets, 2 * count - 1, batch, _entered, nothing)

    candidates = sets(jnp.arange(2 * length))
    sizes = jnp.where(judged.feasible, jnp.sum(candidates, axis=-1), length + 1)
    chosen = jnp.lexsort((judged.divergence, sizes))[0]
    shrinks = judged.feasible[chosen]
    alone = jnp.where(droppable[order], judged.divergence[:length], jnp.inf)
    closer = Best(candidates[chosen], judged.divergence[chosen])
    best = jax.tree.map(lambda new, old: jnp.where(shrinks, new, old), closer, best)
    return _State(best, missed.at[order].set(alone), spent + 2 * count - 1, shrinks)


def _without(
    kept: Bool[Array, " T"],
    droppable: Bool[Array, " T"],
    place: Int[Array, " T"],
    numbers: Int[Array, " N"],
) -> Bool[Array, "N T"]:
    """The sets of a round: without the token at one place, or without those at the first places.

    place: that of each token among the m droppable ones, the least missed first
    numbers: n < m is the place itself; n ≥ m stands for the first n − m + 2 places
    """
    count = jnp.sum(droppable)
    last = jnp.where(numbers < count, numbers, numbers - count + 1)[:, None]
    first = jnp.where(numbers < count, numbers, 0)[:, None]
    return kept & ~(droppable & (first <= place) & (place <= last))


def _entered(judged: Judged, numbers: Int[Array, " N"], _: Array, new: Judged) -> Judged:
    """The judgements of all sets, with those of a batch at their numbers."""
    return Judged(
        judged.divergence.at[numbers].set(new.divergence, mode="drop"),
        judged.feasible.at[numbers].set(new.feasible, mode="drop"),
    )
