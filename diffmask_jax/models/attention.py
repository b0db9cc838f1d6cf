"""Attention over valid positions, in all heads at once or, over long texts, in a few at a time."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.data.inputs import EncoderInputs, PackedInputs

WEIGHTS = "attention"
"""The linen collection into which `attend` sows its weights, if it is mutable."""

LONG = 2**18
"""From this number of scores per text, over all heads, a CPU attends in a few heads at a time."""

NEAR = 2**19
"""The number of scores worked on at a time then: 2 MiB, which fit a core's second-level cache."""


def split_heads(x: Float[Array, "B T D"], heads: int) -> Float[Array, "B H T K"]:
    """(batch, position, head·width) -> (batch, head, position, width)."""
    return x.reshape(*x.shape[:-1], heads, -1).swapaxes(1, 2)


def merge_heads(x: Float[Array, "B H T K"]) -> Float[Array, "B T D"]:
    """The inverse of `split_heads`."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def attend(
    module: nn.Module,
    query: Float[Array, "B H R K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T K"],
    bias: Float[Array, "#B #H #R T"],
    drop: nn.Dropout,
    scale: float | None = None,
) -> Float[Array, "B H R K"]:
    """drop(softmax(q·kᵀ·scale + bias))·v for every head; the softmax is taken in float32.

    module: the block that attends; it sows the weights, before `drop`, into the collection WEIGHTS
    if that is mutable. scale: 1/√K if None.
    """
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    asked = module.is_mutable_collection(WEIGHTS)
    if not asked and jax.default_backend() == "cpu" and _scores_of_a_text(query, key) >= LONG:
        rng = module.make_rng("dropout") if drop.rate else None
        return _few_heads_at_a_time(query, key, value, bias, drop.rate, rng)
    weights = _weights(query, key, bias)
    module.sow(WEIGHTS, "weights", weights)
    return _mixed(drop(weights.astype(value.dtype)), value)


def _weights(
    query: Float[Array, "*B R K"], key: Float[Array, "*B T K"], bias: Float[Array, "*#B #R T"]
) -> Float[Array, "*B R T"]:
    scores = jnp.einsum("...qk,...sk->...qs", query, key, preferred_element_type=jnp.float32)
    return jax.nn.softmax(scores + bias, axis=-1)


def _mixed(
    weights: Float[Array, "*B R T"], value: Float[Array, "*B T K"]
) -> Float[Array, "*B R K"]:
    return jnp.einsum("...qs,...sk->...qk", weights, value)


def _scores_of_a_text(query: Float[Array, "B H R K"], key: Float[Array, "B H T K"]) -> int:
    return query.shape[1] * query.shape[2] * key.shape[2]


def _few_heads_at_a_time(
    query: Float[Array, "B H R K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T K"],
    bias: Float[Array, "#B #H #R T"],
    rate: float,
    rng: Key[Array, ""] | None,
) -> Float[Array, "B H R K"]:
    """drop(softmax(q·kᵀ + bias))·v, whose weights are never all in memory, nor kept for gradients.

    To compute them again costs less than to write them to memory and read them back. rate: the
    share of weights to drop, drawn with rng; without rng nothing is dropped. What was drawn is
    kept, a byte a weight, since drawing again costs more.
    """
    heads = query.shape[1]
    at_once = max(NEAR * heads // _scores_of_a_text(query, key), 1)
    few = max(n for n in range(1, heads + 1) if heads % n == 0 and n <= at_once)

    def in_groups(x: Float[Array, "B H ..."]) -> Float[Array, "B G N ..."]:
        return x.reshape(len(x), -1, min(few, x.shape[1]), *x.shape[2:])

    @jax.checkpoint
    def attended(rows: Rows, bias: Float[Array, "#N #R T"]) -> Float[Array, "N R K"]:
        query, key, value, kept = rows
        weights = _weights(query, key, bias).astype(value.dtype)
        if kept is not None:
            weights = jnp.where(kept, weights / (1 - rate), 0)
        return _mixed(weights, value)

    kept = None  # drawn here and not in `attended`, whose gradient would draw again
    if rng is not None:
        shape = (few, query.shape[2], key.shape[2])
        drawn = functools.partial(jax.random.bernoulli, p=1 - rate, shape=shape)
        kept = jax.vmap(jax.vmap(drawn))(jax.random.split(rng, (len(query), heads // few)))
    rows = in_groups(query), in_groups(key), in_groups(value), kept
    of_a_text = functools.partial(_each, attended)
    return _each(of_a_text, rows, in_groups(bias)).reshape(query.shape)


Rows = tuple[Array, Array, Array, Array | None]
"""Queries, keys, values and which weights dropout keeps, all with the same first axis."""


def _each(function: Callable[[Rows, Array], Array], rows: Rows, biases: Array) -> Array:
    """function(row, its bias) for all rows, one after another; a single bias serves all."""
    if len(biases) == 1:
        return jax.lax.map(lambda row: function(row, biases[0]), rows)
    return jax.lax.map(lambda both: function(*both), (rows, biases))


def closed(open_: Bool[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """A bias of 0 where attention is open, elsewhere so low that its weight is exactly 0.

    It is finite, so that a row with nothing open yields numbers, not nan.
    """
    return jnp.where(open_, 0.0, jnp.finfo(jnp.float32).min / 2)


def padding_bias(valid: Bool[Array | np.ndarray, "B T"]) -> Float[Array, "B 1 1 T"]:
    """The bias that keeps queries from attending to padding."""
    return closed(valid)[:, None, None, :]


def text_bias(inputs: EncoderInputs) -> Float[Array, "B 1 _ T"]:
    """The bias that keeps queries from attending to padding and to other texts of their row."""
    if not isinstance(inputs, PackedInputs):
        return padding_bias(inputs.valid)
    text = jnp.cumsum((inputs.places == 0) & inputs.valid, axis=1)
    same = (text[:, :, None] == text[:, None, :]) & inputs.valid[:, None, :]
    return closed(same)[:, None]
