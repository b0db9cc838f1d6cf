"""BERT's parts: each linen module owns parameters and one local computation."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.models.bert_config import ACTIVATIONS, NO_DROPOUT, BertConfig, Dropout

_normal = nn.initializers.normal(0.02)


def word_embedding(config: BertConfig) -> nn.Embed:
    """Word pieces -> state 0."""
    return nn.Embed(config.vocabulary, config.width, embedding_init=_normal)


class Embeddings(nn.Module):
    """State 0 -> state 1: the position and segment embeddings are added and the sum normalised."""

    config: BertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, words: Float[Array, "B T D"], segments: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        table = functools.partial(nn.Embed, features=self.config.width, embedding_init=_normal)
        position = table(self.config.positions, name="position")(jnp.arange(words.shape[1]))
        segment = table(self.config.segments, name="segment")(segments)
        normed = _norm(self.config, self.dtype, "norm")(words + segment + position)
        return _drop(self.dropout.hidden)(normed)


class Block(nn.Module):
    """One state -> the next: self-attention, then a feed-forward layer, each added and normed."""

    config: BertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], bias: Float[Array, "B 1 1 T"], positions: int | None = None
    ) -> Float[Array, "B R D"]:
        """positions: how many of the next state are wanted, the first ones; None: all."""
        config = self.config
        linear = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_normal)
        norm = functools.partial(_norm, config, self.dtype)
        drop = _drop(self.dropout.hidden)

        def heads(name: str, x: Float[Array, "B S D"]) -> Float[Array, "B H S K"]:
            y = linear(config.width, name=name)(x)
            return y.reshape(*y.shape[:-1], config.heads, -1).swapaxes(1, 2)

        key, value, x = heads("key", x), heads("value", x), x[:, :positions]
        mixed = attend(heads("query", x), key, value, bias, _drop(self.dropout.attention))
        mixed = mixed.swapaxes(1, 2).reshape(x.shape)
        x = norm("mix_norm")(x + drop(linear(config.width, name="mix")(mixed)))

        hidden = ACTIVATIONS[config.activation](linear(config.intermediate, name="up")(x))
        return norm("down_norm")(x + drop(linear(config.width, name="down")(hidden)))


READ = 1
"""How many positions of the last state the head reads, the first ones."""


class Head(nn.Module):
    """The last state of the first token, [CLS] -> logits, always float32; it reads no other."""

    config: BertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B C"]:
        linear = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_normal)
        pooled = jnp.tanh(linear(self.config.width, name="pooler")(x[:, 0]))
        pooled = _drop(self.dropout.classifier)(pooled)
        return linear(self.config.classes, name="classifier")(pooled).astype(jnp.float32)


def _norm(config: BertConfig, dtype: DTypeLike, name: str) -> nn.LayerNorm:
    # E[x²] - E[x]², linen's default, cancels where the mean is large; it is no faster here.
    return nn.LayerNorm(epsilon=config.epsilon, dtype=dtype, use_fast_variance=False, name=name)


def _drop(rate: float) -> nn.Dropout:
    """Each value is 0 with this probability, else divided by 1 - rate; at 0 the identity."""
    return nn.Dropout(rate, deterministic=False)


def attend(
    query: Float[Array, "B H R K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T K"],
    bias: Float[Array, "B 1 1 T"],
    drop: Callable[[Array], Array],
) -> Float[Array, "B H R K"]:
    """drop(softmax(q·kᵀ/√K + bias))·v for every head; the softmax is taken in float32."""
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bhqk,bhsk->bhqs", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores + bias, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqs,bhsk->bhqk", drop(weights), value)


def padding_bias(valid: Bool[Array | np.ndarray, "B T"]) -> Float[Array, "B 1 1 T"]:
    """0 where valid, elsewhere so low that no score lifts it and the attention is exactly 0.

    Finite, so that a row with nothing valid gives numbers and not nan.
    """
    lowest = jnp.finfo(jnp.float32).min / 2
    return jnp.where(valid, 0.0, lowest)[:, None, None, :]
