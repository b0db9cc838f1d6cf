"""DeBERTa's block: disentangled attention, which scores contents and distances separately."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.errors import UserError
from diffmask_jax.models.attention import attend, merge_heads, padding_bias, split_heads
from diffmask_jax.models.config import (
    ACTIVATIONS,
    NO_DROPOUT,
    Dropout,
    EncoderConfig,
    check_activation,
)
from diffmask_jax.models.layers import NORMAL, drop, embedding, linear, norm


@dataclasses.dataclass(frozen=True)
class DebertaV2Config(EncoderConfig):
    """The sizes of a DeBERTa of the second or third version.

    Attributes:
        position_biased: whether state 1 includes position embeddings.
        relative: whether attention depends on distances.
        scores: the scores added then: "c2p", content to position, and "p2c", position to content.
        farthest: the distance from which on all distances are one.
        buckets: the number of classes of distances on each side, of which the outer half grow
            exponentially; 0 if every distance is its own class.
        shared: whether distances share the projections of contents.
        normed: whether the embeddings of distances are normalised.
        convolution: the number of positions over which block 0 convolves its input, 0 if it does
            not.
    """

    position_biased: bool = True
    relative: bool = False
    scores: tuple[str, ...] = ()
    farthest: int = 512
    buckets: int = 0
    shared: bool = False
    normed: bool = False
    convolution: int = 0
    convolution_groups: int = 1
    convolution_activation: str = "tanh"
    pooler_activation: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation(self.pooler_activation)
        check_activation(self.convolution_activation)
        middle = self.buckets // 2  # up to here every distance is its own class
        is_exact = middle >= self.positions - 1
        if self.relative and self.buckets and not (1 <= middle < self.farthest - 1 or is_exact):
            raise UserError(
                f"position_buckets {self.buckets} do not fit max_relative_positions {self.farthest}"
            )
        if self.convolution and (self.convolution % 2 == 0 or self.width % self.convolution_groups):
            raise UserError(
                f"a convolution of {self.convolution} positions in {self.convolution_groups} "
                "groups is not supported: the positions must be odd in number, and the groups "
                "must divide the width"
            )

    @property
    def disentangled(self) -> bool:
        """Whether attention depends on distances."""
        return self.relative and bool(self.scores)

    @property
    def span(self) -> int:
        """The number of classes of distances on each side."""
        return self.buckets or self.farthest


def table_rows(config: DebertaV2Config, length: int) -> Int[np.ndarray, " W"]:
    """The rows of the table of distances for T−1, T−2, …, 1−T, and once more for 1−T.

    A distance is the query's position minus the key's; distance 0 has row `span`.
    """
    distance = np.maximum(np.arange(length - 1, -length - 1, -1), 1 - length)
    if config.buckets and length - 1 > (middle := config.buckets // 2):
        size = np.maximum(np.abs(distance), middle).astype(np.float32)
        scale = np.log(np.float32((config.farthest - 1) / middle))
        kind = np.ceil(np.log(size / np.float32(middle)) / scale * np.float32(middle - 1)) + middle
        distance = np.where(np.abs(distance) <= middle, distance, np.sign(distance) * kind)
    return np.clip(distance + config.span, 0, 2 * config.span - 1).astype(np.int32)


class Distances(nn.Module):
    """Rows of the table of distances -> their embeddings."""

    config: DebertaV2Config
    dtype: DTypeLike

    @nn.compact
    def __call__(self, rows: Int[np.ndarray, " U"]) -> Float[Array, "U D"]:
        config = self.config
        found = embedding(2 * config.span, config.width, "table")(rows)
        return norm(config.epsilon, self.dtype, "norm")(found) if config.normed else found


class Context(NamedTuple):
    """The values that all blocks share.

    distances: the embeddings of the classes of distances in texts of this length, (0, D) if
        attention does not depend on distances
    places: the row therein of each of T−1, T−2, …, 1−T, 1−T
    """

    valid: Bool[Array | np.ndarray, "B T"]
    distances: Float[Array, "U D"]
    places: Int[np.ndarray, " W"]


def diagonals(x: Float[Array, "B H N W"], first: int, count: int) -> Float[Array, "B H N M"]:
    """y[n, m] = x[n, first − n + m] for m < M = count: each row is shifted by one more place.

    A reshape instead of a gather, whose gradient would be a scatter: in the same memory, row n of a
    matrix that is one column narrower begins n places earlier.
    """
    rows, columns = x.shape[-2:]
    flat = x.reshape(*x.shape[:-2], rows * columns)[..., first : first + rows * (columns - 1)]
    return flat.reshape(*x.shape[:-1], columns - 1)[..., :count]


class Block(nn.Module):
    """One state -> the next: attention, then a feed-forward layer, each added and normed.

    score(q, k) = (query_q·key_k + query_q·far_key(q−k) + far_query(q−k)·key_k) / √(terms·K), where
    far_… are projections of the distances' embeddings. Block 0 may add a convolution of its input.
    """

    config: DebertaV2Config
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT
    number: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], context: Context, positions: int | None = None
    ) -> Float[Array, "B R D"]:
        """positions: compute only this many, the first ones; None: all."""
        config, dtype, below = self.config, self.dtype, x
        to_query = linear(config.width, dtype, "query")
        to_key = linear(config.width, dtype, "key")
        to_value = linear(config.width, dtype, "value")

        key, value = (split_heads(to(x), config.heads) for to in (to_key, to_value))
        x = x[:, :positions]
        query, bias = split_heads(to_query(x), config.heads), padding_bias(context.valid)
        scale = (query.shape[-1] * (1 + len(config.scores))) ** -0.5
        if config.disentangled:
            distances = drop(self.dropout.hidden)(context.distances)[None]
            far = context.places[key.shape[2] - query.shape[2] :]  # only those of the queries
            if "c2p" in config.scores:
                to_far = to_key if config.shared else linear(config.width, dtype, "far_key")
                keys = split_heads(to_far(distances), config.heads)[:, :, far]
                scores = diagonals(_products(query, keys), query.shape[2] - 1, key.shape[2])
                bias = bias + scale * scores
            if "p2c" in config.scores:
                to_far = to_query if config.shared else linear(config.width, dtype, "far_query")
                queries = split_heads(to_far(distances), config.heads)[:, :, far[::-1]]
                scores = diagonals(_products(key, queries), key.shape[2], query.shape[2])
                bias = bias + scale * scores.swapaxes(2, 3)
        mixed = attend(self, query, key, value, bias, drop(self.dropout.attention), scale)
        mixed = linear(config.width, dtype, "mix")(merge_heads(mixed))
        x = norm(config.epsilon, dtype, "mix_norm")(x + drop(self.dropout.hidden)(mixed))

        hidden = ACTIVATIONS[config.activation](linear(config.intermediate, dtype, "up")(x))
        hidden = drop(self.dropout.hidden)(linear(config.width, dtype, "down")(hidden))
        x = norm(config.epsilon, dtype, "down_norm")(x + hidden)
        if config.convolution and self.number == 0:
            x = self._convolved(x, below, context.valid)
        return x

    def _convolved(
        self,
        x: Float[Array, "B R D"],
        below: Float[Array, "B T D"],
        valid: Bool[Array | np.ndarray, "B T"],
    ) -> Float[Array, "B R D"]:
        """norm(x + activation(convolution(below))), with padding set to 0 before and after."""
        config = self.config
        convolution = nn.Conv(
            config.width,
            (config.convolution,),
            padding=config.convolution // 2,
            feature_group_count=config.convolution_groups,
            dtype=self.dtype,
            kernel_init=NORMAL,
            name="conv",
        )
        valid = valid[..., None]
        found = convolution(jnp.where(valid, below, 0))[:, : x.shape[1]]
        found = ACTIVATIONS[config.convolution_activation](drop(self.dropout.hidden)(found))
        normed = norm(config.epsilon, self.dtype, "conv_norm")(x + found)
        return jnp.where(valid[:, : x.shape[1]], normed, 0)


def _products(a: Float[Array, "B H N K"], b: Float[Array, "1 H W K"]) -> Float[Array, "B H N W"]:
    return jnp.einsum("bhnk,hwk->bhnw", a, b[0], preferred_element_type=jnp.float32)
