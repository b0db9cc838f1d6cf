"""Backward elimination: drop the least missed tokens, as many at once as possible."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.attribution.judging import Judge, Judged, in_batches


class Best(NamedTuple):
    """The best feasible set so far, and its divergence in nats."""

    kept: Bool[Array, " T"]
    divergence: Float[Array, ""]


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
    length = len(valid)

    def unsettled(carry: tuple[Best, Array, Array, Array]) -> Bool[Array, ""]:
        best, _, spent, shrinks = carry
        count = jnp.sum(best.kept & free)
        return shrinks & (count > 0) & (spent + 2 * count - 1 <= passes)

    def round_of(
        carry: tuple[Best, Array, Array, Array],
    ) -> tuple[Best, Array, Array, Array]:
        best, missed, spent, _ = carry
        here = best.kept & free
        count = jnp.sum(here)
        order = jnp.lexsort((missed, ~here))  # droppable tokens come first
        place = jnp.argsort(order)

        def sets(numbers: Int[Array, " N"]) -> Bool[Array, "N T"]:
            last = jnp.where(numbers < count, numbers, numbers - count + 1)[:, None]
            first = jnp.where(numbers < count, numbers, 0)[:, None]
            return best.kept & ~(here & (first <= place) & (place <= last))

        def enter(judged: Judged, numbers: Array, _: Array, new: Judged) -> Judged:
            return Judged(
                judged.divergence.at[numbers].set(new.divergence, mode="drop"),
                judged.feasible.at[numbers].set(new.feasible, mode="drop"),
            )

        nothing = Judged(jnp.full(2 * length, jnp.inf), jnp.zeros(2 * length, bool))
        judged = in_batches(judge, sets, 2 * count - 1, batch, enter, nothing)
        candidates = sets(jnp.arange(2 * length))
        sizes = jnp.where(judged.feasible, jnp.sum(candidates, axis=-1), length + 1)
        chosen = jnp.lexsort((judged.divergence, sizes))[0]
        shrinks = judged.feasible[chosen]
        missed = missed.at[order].set(jnp.where(here[order], judged.divergence[:length], jnp.inf))
        closer = Best(candidates[chosen], judged.divergence[chosen])
        best = jax.tree.map(lambda new, old: jnp.where(shrinks, new, old), closer, best)
        return best, missed, spent + 2 * count - 1, shrinks

    start = (
        Best(valid, jnp.zeros(())),
        -jnp.arange(length, dtype=jnp.float32),
        jnp.zeros((), jnp.int32),
        jnp.ones((), bool),
    )
    best, _, spent, _ = jax.lax.while_loop(unsettled, round_of, start)
    return best, spent
