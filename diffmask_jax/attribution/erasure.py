"""Erasure: which tokens can be dropped? By exact search over subsets, and by leaving one out.

Both see the network as a function `divergence(state) -> (B,)`: the distance from the original
output, in nats, with `state` in place of the original state (Li et al. 2016; Feng et al. 2018;
paper, eq. 2).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.errors import UserError
from diffmask_jax.game.masking import mask_state

Divergence = Callable[[Float[Array, "B T D"]], Float[Array, " B"]]


class Erasure(NamedTuple):
    """The optimum of each example.

    kept: the smallest feasible set; of several, the one of the smallest divergence
    size: its number of tokens
    divergence: its divergence in nats
    optima: the number of feasible sets of that size
    """

    kept: Bool[Array, "B T"]
    size: Int[Array, " B"]
    divergence: Float[Array, " B"]
    optima: Int[Array, " B"]


def exact_erasure(
    divergence: Divergence,
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    baseline: Float[Array, " D"],
    margin: float,
    smallest: int = 0,
    longest: int = 16,
) -> Erasure:
    """The fewest tokens to keep, the rest replaced by the baseline, for a divergence ≤ margin.

    Subsets are compared by rising size until every example of the batch has its optimum: 2^T of
    them in the worst case, so this is not for long texts. Keeping every token is feasible by
    definition. smallest: the least number of tokens to keep; 1 where an attribution must point
    somewhere although the baseline alone would suffice.

    Raises: UserError if T is over `longest`.
    """
    batch, length = valid.shape
    if length > longest:
        raise UserError(
            f"exact erasure of {length} tokens would compare 2^{length} subsets: "
            f"the limit is {longest} tokens"
        )
    by_size = sorted(itertools.product([False, True], repeat=length), key=sum)
    subsets = jnp.asarray(by_size)
    sizes = jnp.sum(subsets, axis=-1)
    everything = Erasure(valid, jnp.sum(valid, axis=-1), jnp.zeros(batch), jnp.zeros(batch, int))

    def unsettled(carry: tuple[Int[Array, ""], Erasure]) -> Bool[Array, ""]:
        number, best = carry
        size = sizes[jnp.minimum(number, len(by_size) - 1)]
        return (number < len(by_size)) & jnp.any(best.size >= size)

    def compare(carry: tuple[Int[Array, ""], Erasure]) -> tuple[Int[Array, ""], Erasure]:
        number, best = carry
        kept = jnp.broadcast_to(subsets[number], valid.shape)
        distance = divergence(mask_state(state, kept.astype(state.dtype), baseline))
        return number + 1, _better(best, kept, distance, margin, valid, smallest)

    _, best = jax.lax.while_loop(unsettled, compare, (jnp.zeros((), int), everything))
    return best


def _better(
    best: Erasure,
    kept: Bool[Array, "B T"],
    distance: Float[Array, " B"],
    margin: float,
    valid: Bool[Array, "B T"],
    smallest: int,
) -> Erasure:
    """The better of the best set so far and the set `kept`, which has divergence `distance`."""
    size = jnp.sum(kept, axis=-1)
    # A set that keeps padding duplicates the smaller set without it.
    proper = ~jnp.any(kept & ~valid, axis=-1) & (size >= smallest)
    feasible = proper & ((distance <= margin) | jnp.all(kept == valid, axis=-1))
    equal = size == best.size
    first = feasible & ((size < best.size) | (equal & (best.optima == 0)))
    better = first | (feasible & equal & (distance < best.divergence))
    return Erasure(
        kept=jnp.where(better[:, None], kept, best.kept),
        size=jnp.where(better, size, best.size),
        divergence=jnp.where(better, distance, best.divergence),
        optima=jnp.where(first, 1, best.optima + (feasible & equal)),
    )


def leave_one_out(
    divergence: Divergence,
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    baseline: Float[Array, " D"],
) -> Float[Array, "B T"]:
    """The divergence in nats when one position alone is replaced by the baseline."""

    def without(position: Int[Array, ""]) -> Float[Array, " B"]:
        gate = (jnp.arange(valid.shape[1]) != position).astype(state.dtype)
        return divergence(mask_state(state, jnp.broadcast_to(gate, valid.shape), baseline))

    distances = jax.lax.map(without, jnp.arange(valid.shape[1]))
    return jnp.where(valid, jnp.moveaxis(distances, 0, 1), 0.0)
