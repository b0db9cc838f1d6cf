"""The smallest feasible set of tokens of one text, for whatever judges sets: with a certificate.

Nothing is known of feasibility but what is judged. A superset of a feasible set need not be
feasible, nor does divergence fall as tokens are added, so that no set can be ruled out by another
and no pruning is sound: a size is excluded when every set of that size was judged, and only then.

Three parts share one budget of passes, in this order.

1. Elimination, for a bound from above: from the whole text the least missed tokens are dropped, as
   many at once as can go, until no single token can.
2. Enumeration, upwards in size and never beyond that bound. A size is begun only if all of its sets
   will be judged: if all that is missing of a proof fits what is left of the budget, or if this
   size leaves the beam half of that, or as much as the beam can need.
3. A beam search from the closest sets of the last size that was enumerated, upwards to below the
   bound. It proves nothing.

All sets are judged in batches of one shape, each made from its number when its turn comes, so that
a search is one compiled program whose memory does not depend on the budget.
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

    passes: sets judged at most, each of them one pass of the network: the budget
    width: how many sets of a size the beam keeps
    batch: how many sets are judged at once; a batch that is not filled costs as much as a full one
    """

    passes: int | Int[Array, ""] = 20_000
    width: int = 10
    batch: int = 64


class Found(NamedTuple):
    """The smallest feasible set that a search knows, and its certificate.

    kept: the set; of those of its size that were judged, the feasible one of smallest divergence
    size: its number of tokens, of which some are always kept: a bound of the optimum's from above
    divergence: its divergence in nats
    optima: how many sets of this size are feasible, where all were judged; elsewhere 0
    share: of these sets the share that holds each token; where `optima` is 0, 1 for the kept
    lower: a bound of the optimum's size from below: all sets of fewer tokens were judged, and none
        is feasible
    enumerated: how many sets those are, and those of size `lower` if all of them were judged
    passes: how many sets were judged in all, by all three parts
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

    optima: how many are feasible; held: how many of these hold each token
    best: the feasible one of the smallest divergence
    beam: those of the smallest divergence, W of them, and theirs; infinite where there is none
    """

    optima: Int[Array, ""]
    held: Int[Array, " T"]
    best: Best
    beam: Bool[Array, "W T"]
    divergence: Float[Array, " W"]


class _Walk(NamedTuple):
    """Where the way upwards is.

    size: free tokens of the level that comes next; left: passes; whole: whether all sets of every
        size below were judged
    lower, enumerated: the certificate, in free tokens
    level: what was judged last
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
    """The fewest tokens of one text whose set is feasible, among sets that hold all of `always`.

    Keeping every token is feasible by definition. Under `jax.jit` the passes may be traced, so that
    one program serves every budget; `check_effort` says whether there is such an effort.
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
    # Rounding may let another batch judge the bound's own set otherwise than elimination did.
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
            raise UserError(f"a search needs at least 1 as its {name}, not {value}")
    if effort.passes > LARGEST_BUDGET:
        raise UserError(f"a search's budget is at most {LARGEST_BUDGET} passes: {effort.passes}")


def _climb(
    judge: Judge,
    always: Bool[Array, " T"],
    free: Bool[Array, " T"],
    bound: Int[Array, ""],
    effort: Effort,
    spent: Int[Array, ""],
) -> _Walk:
    """Size after size, all sets as long as they can be paid, then the beam, to the first feasible.

    bound: free tokens of a set that is known to be feasible. All sets of that size are judged if
    they can be; the beam stops below it.
    """
    length, number = len(free), jnp.sum(free)
    table, sums = jnp.asarray(binomials(length)), jnp.asarray(binomial_sums(length))

    def plan(walk: _Walk) -> tuple[Bool[Array, ""], Int[Array, ""]]:
        """Whether all sets of the next size are judged, and how many sets are."""
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
    """A level before anything was judged."""
    return _Level(
        optima=jnp.zeros((), jnp.int32),
        held=jnp.zeros(length, jnp.int32),
        best=Best(jnp.zeros(length, bool), jnp.full((), jnp.inf)),
        beam=jnp.zeros((effort.width, length), bool),
        divergence=jnp.full(effort.width, jnp.inf),
    )


def _joined(level: _Level, _: Array, sets: Bool[Array, "N T"], judged: Judged) -> _Level:
    """A level and another batch of its sets."""
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
    """Which tokens each set of the beam is extended by, so that no set is made twice.

    {a, b} is made of {a} and of {b}: it is the earlier one's. An earlier set q makes p ∪ {t} too if
    t is all that q has and p has not.
    """
    width = len(level.beam)
    more = level.beam[None] & ~level.beam[:, None]  # [p, q]: what q has and p has not
    earlier = jnp.arange(width)[None] < jnp.arange(width)[:, None]
    twin = earlier & (jnp.sum(more, axis=-1) == 1) & jnp.isfinite(level.divergence)[None]
    made = jnp.any(more & twin[..., None], axis=1)
    return free & ~level.beam & ~made & jnp.isfinite(level.divergence)[:, None]
