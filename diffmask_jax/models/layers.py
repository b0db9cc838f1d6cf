"""What the blocks of all encoders are made of: attention over valid positions, norms, dropout."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffmask_jax.data.inputs import EncoderInputs, PackedInputs

NORMAL = nn.initializers.normal(0.02)
"""How the weights of fresh encoders and heads are drawn."""

WEIGHTS = "attention"
"""The collection into which `attend` puts its weights, for those who ask for it."""


def linear(width: int, dtype: DTypeLike, name: str, use_bias: bool = True) -> nn.Dense:
    """A linear layer whose weights start from normal(0, 0.02) and whose biases start at 0."""
    return nn.Dense(width, use_bias=use_bias, dtype=dtype, kernel_init=NORMAL, name=name)


def embedding(count: int, width: int, name: str | None = None) -> nn.Embed:
    """A table of `count` vectors that start from normal(0, 0.02)."""
    return nn.Embed(count, width, embedding_init=NORMAL, name=name)


def norm(epsilon: float, dtype: DTypeLike, name: str, use_bias: bool = True) -> nn.LayerNorm:
    """Layer normalisation over the last axis."""
    # E[x²] - E[x]², linen's default, cancels where the mean is large; it is no faster here.
    return nn.LayerNorm(
        epsilon=epsilon, dtype=dtype, use_fast_variance=False, use_bias=use_bias, name=name
    )


def drop(rate: float) -> nn.Dropout:
    """Each value is 0 with this probability, else divided by 1 - rate; at 0 the identity."""
    return nn.Dropout(rate, deterministic=False)


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
    drop: Callable[[Array], Array],
    scale: float | None = None,
) -> Float[Array, "B H R K"]:
    """drop(softmax(q·kᵀ·scale + bias))·v for every head; the softmax is taken in float32.

    module: the block that attends; it keeps the weights, before `drop`, in the collection WEIGHTS
    where that is mutable. scale: 1/√K if None.
    """
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = jnp.einsum("bhqk,bhsk->bhqs", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores + bias, axis=-1)
    module.sow(WEIGHTS, "weights", weights)
    return jnp.einsum("bhqs,bhsk->bhqk", drop(weights.astype(value.dtype)), value)


def closed(open_: Bool[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """0 where attention is open, elsewhere so low that no score lifts it and it is exactly 0.

    Finite, so that a row with nothing open gives numbers and not nan.
    """
    return jnp.where(open_, 0.0, jnp.finfo(jnp.float32).min / 2)


def padding_bias(valid: Bool[Array | np.ndarray, "B T"]) -> Float[Array, "B 1 1 T"]:
    """What keeps every query from attending to padding."""
    return closed(valid)[:, None, None, :]


def text_bias(inputs: EncoderInputs) -> Float[Array, "B 1 _ T"]:
    """What keeps every query to its own text: from padding, and from others of its row."""
    if not isinstance(inputs, PackedInputs):
        return padding_bias(inputs.valid)
    text = jnp.cumsum((inputs.places == 0) & inputs.valid, axis=1)
    same = (text[:, :, None] == text[:, None, :]) & inputs.valid[:, None, :]
    return closed(same)[:, None]
