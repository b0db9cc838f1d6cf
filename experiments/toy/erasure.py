"""Exact erasure on the counting model: all subsets of an example's digits, prefixes shared.

The model reads left to right, so that its 2ⁿ subsets are the leaves of a tree of 2ⁿ⁺¹ − 1 recurrent
states, as in `attribution.prefix_search`. There texts are too long for the whole tree to be in
memory; here each example has its whole tree, one after another, in one program. Half of the
examples have at most half the positions, and nothing is computed for them beyond these.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffmask_jax.game.objective import Clean
from diffmask_jax.models import toy
from diffmask_jax.models.toy import TOY
from experiments.toy.setup import MARGIN


@functools.partial(jax.jit, static_argnums=2)
def erasure(params: Any, data: Clean, layer: int) -> Float[Array, "S N T"]:
    """The smallest sets of digits, of at least one, with D within the margin when the states of all
    others are zeros; of several the one of the smallest D. 1 for the digits in the set, else 0.

    Keeping every digit is feasible by definition.
    """
    state = data.states[layer]

    def one_seed(seed: tuple[Any, Clean, Array]) -> Array:
        params, data, state = seed
        nothing = jnp.zeros_like(state)
        read = [toy.project(params, data.inputs, s, layer) for s in (nothing, state)]
        examples = jnp.stack(read, axis=2), data.inputs.valid, data.logits
        return jax.lax.map(functools.partial(_smallest, params), examples)

    return jax.lax.map(one_seed, (params, data, state))


def _smallest(
    params: Any, example: tuple[Float[Array, "T 2 P"], Bool[Array, " T"], Float[Array, ""]]
) -> Float[Array, " T"]:
    """The set of one example. read: the inputs of each digit when it is dropped and when kept."""
    read, valid, logit = example
    middle = len(valid) // 2

    def grown(h: Float[Array, "M H"], positions: range) -> Float[Array, "N H"]:
        """The states of all subsets; bit t of a row's number says whether digit t is kept."""
        for t in positions:
            both = [jnp.where(valid[t], toy.step(params, h, x), h) for x in read[t]]
            h = jnp.concatenate(both)
        return h

    def best(h: Float[Array, "N H"]) -> Float[Array, " T"]:
        kept = (jnp.arange(len(h))[:, None] >> jnp.arange(len(valid)) & 1).astype(bool)
        size = jnp.sum(kept, axis=1)
        found = toy.finish(params, h)
        divergence = TOY.family.divergence(jnp.broadcast_to(logit, found.shape), found)
        enough = (divergence <= MARGIN) | jnp.all(kept == valid, axis=1)
        # A set that keeps padding duplicates the smaller one without it.
        feasible = enough & (size > 0) & jnp.all(valid | ~kept, axis=1)
        smallest = jnp.min(jnp.where(feasible, size, len(valid)))
        closest = jnp.argmin(jnp.where(feasible & (size == smallest), divergence, jnp.inf))
        return kept[closest].astype(jnp.float32)

    h = grown(jnp.zeros((1, toy.WIDTH)), range(middle))
    return jax.lax.cond(
        jnp.any(valid[middle:]),
        lambda h: best(grown(h, range(middle, len(valid)))),
        best,
        h,
    )
