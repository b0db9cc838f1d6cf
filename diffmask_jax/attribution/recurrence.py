"""A network that reads left to right, and a bound on how many tokens it needs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Recurrence(NamedTuple):
    """A network that reads left to right, as two pure functions.

    step: (params, h (N, H), the features of a token (N, F)) -> the next h
    divergence: (params, h (N, H) after the last token, original outputs (N, C)) -> (N,) nats
    """

    step: Callable[[Any, Array, Array], Array]
    divergence: Callable[[Any, Array, Array], Array]


class Texts(NamedTuple):
    """S texts of T tokens as a recurrent network sees them.

    read: the features of each token when it is dropped (0) and when it is kept (1)
    original: the network's output for the whole text
    """

    read: Float[Array, "S T 2 F"]
    original: Float[Array, "S C"]


@functools.partial(jax.jit, static_argnums=0)
def enough_tokens(
    network: Recurrence, params: Any, start: Array, texts: Texts, margin: Array | float
) -> Int[Array, " S"]:
    """An upper bound on the fewest tokens with divergence ≤ margin, for each text.

    Tokens are dropped greedily, always the least missed one; the bound is the size of the smallest
    feasible set on the way.
    """
    number, length = texts.read.shape[:2]

    def divergences(sets: Bool[Array, "S T T"]) -> Float[Array, "S T"]:
        """The divergences of T sets per text."""

        def read(h: Array, t: Array) -> tuple[Array, None]:
            dropped, kept = texts.read[:, None, t, 0], texts.read[:, None, t, 1]
            x = jnp.where(sets[:, :, t, None], kept, dropped)
            return network.step(params, h, jnp.reshape(x, (number * length, -1))), None

        h = jnp.broadcast_to(start, (number * length, *start.shape))
        h, _ = jax.lax.scan(read, h, jnp.arange(length))
        original = jnp.repeat(texts.original, length, axis=0)
        return jnp.reshape(network.divergence(params, h, original), (number, length))

    def drop(carry: tuple[Array, Array], size: Array) -> tuple[tuple[Array, Array], None]:
        kept, enough = carry
        distances = divergences(kept[:, None] & ~jnp.eye(length, dtype=bool))
        distances = jnp.where(kept, distances, jnp.inf)
        kept &= ~jax.nn.one_hot(jnp.argmin(distances, axis=-1), length, dtype=bool)
        return (kept, jnp.where(jnp.min(distances, axis=-1) <= margin, size, enough)), None

    everything = jnp.ones((number, length), bool), jnp.full(number, length)
    (_, enough), _ = jax.lax.scan(drop, everything, jnp.arange(length - 1, -1, -1))
    return enough
