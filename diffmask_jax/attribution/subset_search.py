"""The smallest feasible set of one text's tokens, for any judge of sets, with a certificate.

Feasibility is known only by judging: a superset of a feasible set need not be feasible, nor does
divergence fall as tokens are added. No set can be ruled out by another, so no pruning is sound; a
size is excluded only once every set of that size has been judged.

Three parts share one budget of passes, in this order.

1. Elimination, for an upper bound: from the whole text the least missed tokens are dropped, as many
   at once as possible, until no single token can be.
2. Enumeration, upwards in size and never beyond that bound. A size is begun only if all of its sets
   will be judged: if the rest of the proof fits the rest of the budget, or if this size leaves the
   beam half of that rest, or as much as the beam can need.
3. A beam search from the closest sets of the last enumerated size, upwards to below the bound. It
   proves nothing.

All sets are judged in batches of one shape, each computed from its number when its turn comes, so
that a search is one compiled program whose memory does not depend on the budget.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import one_hot
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.attribution.combinations import binomial_sums, binomials, combinations
from diffmask_jax.attribution.elimination import Best, eliminate
from diffmask_jax.attribution.judging import Judge, Judged, in_batches
from diffmask_jax.errors import UserError

LARGEST_BUDGET = 2**30


class Effort(NamedTuple):
    """How much a search may do.

    passes: the budget, in sets judged, each of which is one pass of the network
    width: how many sets of a size the beam keeps
    batch: how many sets are judged at once; a partial batch costs as much as a full one
    """

    passes: int | Int[Array, ""] = 20_000
    width: int = 10
    batch: int = 64


class Found(NamedTuple):
    """The smallest feasible set that a search knows, and its certificate.

    kept: the set; of the sets of its size that were judged, the feasible one of smallest divergence
    size: its number of tokens, those that are always kept included: an upper bound of the optimum's
    divergence: its divergence in nats
    optima: how many sets of this size are feasible, if all were judged; otherwise 0
    share: the share of these sets that contain each token; where `optima` is 0, 1 for the kept
    lower: a lower bound of the optimum's size: all sets of fewer tokens were judged infeasible
    enumerated: how many sets those are, and those of size `lower` if all of them were judged
    passes: how many sets were judged by all three parts together
    complete: whether the size is proven, lower = size: no smaller set is feasible
    """

    kept: Bool[Array, "*b T"]
    size: Int[Array, "*b"]
    divergence: Float[Array, "*b"]
    optima: Int[Array, "*b"]
    share: Float[Array, "*b T"]
    lower: Int[Array, "*b"]
    enumerated: Int[Array, "*b"]
    passes: Int[Array, "*b"]
    complete: Bool[Array, "*b"]


class _Level(NamedTuple):
    """Sets of one size that were judged.

    optima: how many are feasible
    held: how many of the feasible ones contain each token
    best: the feasible one of the smallest divergence
    beam: the W sets of the smallest divergences, and these; infinite where there is no set
    """

    optima: Int[Array, ""]
    held: Int[Array, " T"]
    best: Best
    beam: Bool[Array, "W T"]
    divergence: Float[Array, " W"]


class _Walk(NamedTuple):
    """The state of the climb.

    size: free tokens of the next level
    left: passes left
    whole: whether all sets of every size below were judged
    lower, enumerated: the certificate, in free tokens
    level: the sets judged last
    """

    size: Int[Array, ""]
    left: Int[Array, ""]
    whole: Bool[Array, ""]
    lower: Int[Array, ""]
    enumerated: Int[Array, ""]
    level: _Level


def search(
    judge: Judge,
    valid: Bool[Array, " T"],
    always: Bool[Array, " T"],
    effort: Effort,
) -> Found:
    """The smallest feasible set of one text's tokens that contains all of `always`.

    Keeping every token is feasible by definition. Under `jax.jit` the passes may be traced, so that
    one program serves every budget; `check_effort` checks an effort beforehand.
    """
    always = always & valid
    free = valid & ~always

    def judged(sets: Bool[Array, "N T"]) -> Judged:
        divergence, feasible = judge(sets)
        return Judged(divergence, feasible | jnp.all(sets == valid, axis=-1))

    best, spent = eliminate(judged, valid, free, effort.passes, effort.batch)
    bound = jnp.sum(best.kept & free)
    walk = _climb(judged, always, free, bound, effort, spent)
    level = walk.level
    better = level.optima > 0
    optima = jnp.where(better & walk.whole, level.optima, 0)
    kept = jnp.where(better, level.best.kept, best.kept)
    size = jnp.sum(kept)
    # By rounding, the bound's own set may be judged differently in another batch.
    lower = jnp.minimum(walk.lower + jnp.sum(always), size)
    return Found(
        kept=kept,
        size=size,
        divergence=jnp.where(better, level.best.divergence, best.divergence),
        optima=optima,
        share=jnp.where(optima > 0, level.held / jnp.maximum(optima, 1), kept),
        lower=lower,
        enumerated=walk.enumerated,
        passes=effort.passes - walk.left,
        complete=lower == size,
    )


def check_effort(effort: Effort) -> None:
    """Raises: UserError if a number is not positive, or the budget is over 2³⁰ passes."""
    for name, value in effort._asdict().items():
        if value < 1:
            raise UserError(f"a search's {name} must be at least 1, not {value}")
    if effort.passes > LARGEST_BUDGET:
        raise UserError(
            f"a search's budget must be at most {LARGEST_BUDGET} passes, not {effort.passes}"
        )


def _climb(
    judge: Judge,
    always: Bool[Array, " T"],
    free: Bool[Array, " T"],
    bound: Int[Array, ""],
    effort: Effort,
    spent: Int[Array, ""],
) -> _Walk:
    """Climb in size to the first feasible set: all sets while the budget allows, then the beam.

    bound: free tokens of a set that is known to be feasible. All sets of that size are judged if
    the budget allows; the beam stops below it.
    """
    length, number = len(free), jnp.sum(free)
    table, sums = jnp.asarray(binomials(length)), jnp.asarray(binomial_sums(length))

    def plan(walk: _Walk) -> tuple[Bool[Array, ""], Int[Array, ""]]:
        """Whether all sets of the next size are to be judged, and how many sets are."""
        every = table[number, jnp.minimum(walk.size, length)]
        below = jnp.where(walk.size > 0, sums[number, jnp.maximum(walk.size - 1, 0)], 0)
        proof = sums[number, jnp.maximum(bound - 1, walk.size)] - below
        needed = effort.width * number * (bound - walk.size)
        spared = jnp.maximum(walk.left // 2, walk.left - needed)
        whole = walk.whole & ((proof <= walk.left) | (every <= spared))
        further = jnp.sum(_extensions(walk.level, free))
        beam = jnp.where(walk.size < bound, jnp.minimum(further, walk.left), 0)
        return whole, jnp.where(whole, every, beam)

    def unfinished(walk: _Walk) -> Bool[Array, ""]:
        return (walk.level.optima == 0) & (walk.size <= bound) & (plan(walk)[1] > 0)

    def judged(walk: _Walk) -> _Walk:
        whole, count = plan(walk)
        further = _extensions(walk.level, free)
        order = jnp.argsort(~further.ravel())

        def sets(numbers: Int[Array, " N"]) -> Bool[Array, "N T"]:
            parent, token = jnp.divmod(order[numbers], length)
            extended = walk.level.beam[parent] | one_hot(token, length, dtype=bool)
            enumerated = always | combinations(numbers, walk.size, free)
            return jnp.where(whole, enumerated, extended)

        level = in_batches(judge, sets, count, effort.batch, _joined, _nothing(effort, length))
        excluded = whole & (level.optima == 0)
        return _Walk(
            size=walk.size + 1,
            left=walk.left - count,
            whole=whole,
            lower=jnp.where(excluded, walk.size + 1, walk.lower),
            enumerated=walk.enumerated + jnp.where(whole, count, 0),
            level=level,
        )

    zero = jnp.zeros((), jnp.int32)
    left = effort.passes - spent
    start = _Walk(zero, left, jnp.ones((), bool), zero, zero, _nothing(effort, length))
    return jax.lax.while_loop(unfinished, judged, start)


def _nothing(effort: Effort, length: int) -> _Level:
    """A level of which nothing has been judged."""
    return _Level(
        optima=jnp.zeros((), jnp.int32),
        held=jnp.zeros(length, jnp.int32),
        best=Best(jnp.zeros(length, bool), jnp.full((), jnp.inf)),
        beam=jnp.zeros((effort.width, length), bool),
        divergence=jnp.full(effort.width, jnp.inf),
    )


def _joined(level: _Level, _: Array, sets: Bool[Array, "N T"], judged: Judged) -> _Level:
    """A level extended by another batch of its sets."""
    divergences = jnp.where(judged.feasible, judged.divergence, jnp.inf)
    nearest = jnp.argmin(divergences)
    first = (level.optima == 0) & jnp.any(judged.feasible)
    closer = first | (divergences[nearest] < level.best.divergence)
    both = jnp.concatenate([level.beam, sets])
    distances = jnp.concatenate([level.divergence, judged.divergence])
    _, closest = jax.lax.top_k(-distances, len(level.beam))
    return _Level(
        optima=level.optima + jnp.sum(judged.feasible),
        held=level.held + jnp.sum(sets & judged.feasible[:, None], axis=0),
        best=Best(
            jnp.where(closer, sets[nearest], level.best.kept),
            jnp.where(closer, divergences[nearest], level.best.divergence),
        ),
        beam=both[closest],
        divergence=distances[closest],
    )


def _extensions(level: _Level, free: Bool[Array, " T"]) -> Bool[Array, "W T"]:
    """The tokens that each set of the beam is extended by, such that no set occurs twice.

    {a, b} extends both {a} and {b}; it is left to the earlier one. An earlier set q yields p ∪ {t},
    too, if t is the only token of q that is not in p.
    """
    width = len(level.beam)
    more = level.beam[None] & ~level.beam[:, None]  # [p, q]: the tokens of q not in p
    earlier = jnp.arange(width)[None] < jnp.arange(width)[:, None]
    twin = earlier & (jnp.sum(more, axis=-1) == 1) & jnp.isfinite(level.divergence)[None]
    made = jnp.any(more & twin[..., None], axis=1)
    return free & ~level.beam & ~made & jnp.isfinite(level.divergence)[:, None]
