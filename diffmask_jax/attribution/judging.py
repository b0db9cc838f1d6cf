"""Sets of tokens judged in batches of one shape, computed from their numbers as they are needed."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Carry = TypeVar("Carry")


class Judged(NamedTuple):
    """The judgement of N sets: the divergence of each in nats, and whether it is feasible."""

    divergence: Float[Array, " N"]
    feasible: Bool[Array, " N"]


Judge = Callable[[Bool[Array, "N T"]], Judged]


def in_batches(
    judge: Judge,
    sets: Callable[[Array], Array],
    count: Int[Array, ""],
    batch: int,
    join: Callable[[Carry, Array, Array, Judged], Carry],
    start: Carry,
) -> Carry:
    """Judge the sets with the numbers below `count`, and fold the judgements of the batches.

    join: (result so far, numbers, sets, their judgement) -> the result with these; sets from
    `count` on are judged infeasible and infinitely far.
    """

    def step(carry: tuple[Array, Carry]) -> tuple[Array, Carry]:
        done, joined = carry
        numbers = done + jnp.arange(batch)
        judged_sets = sets(numbers)
        divergence, feasible = judge(judged_sets)
        real = numbers < count
        judged = Judged(jnp.where(real, divergence, jnp.inf), feasible & real)
        return done + batch, join(joined, numbers, judged_sets, judged)

    unfinished = lambda carry: carry[0] < count  # noqa: E731
    _, joined = jax.lax.while_loop(unfinished, step, (jnp.zeros((), jnp.int32), start))
    return joined
