"""ModernBERT's block: pre-normed, gated, with rotary positions and mostly local attention."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.attention import attend, closed, merge_heads, padding_bias, split_heads
from diffmask_jax.models.config import (
    ACTIVATIONS,
    NO_DROPOUT,
    Dropout,
    EncoderConfig,
    check_activation,
)
from diffmask_jax.models.layers import drop, linear, norm


@dataclasses.dataclass(frozen=True)
class ModernBertConfig(EncoderConfig):
    """The sizes of a ModernBERT; `dropout.hidden` is that of the feed-forward layers.

    Attributes:
        local: for each block, whether its attention is local.
        window: the number of neighbours that local attention reaches, half of them on each side.
        local_theta, global_theta: the base of the rotary wavelengths in either kind of block.
        pooling: the input of the head: "cls", the first token, or "mean", the mean of all.
    """

    local: tuple[bool, ...] = ()
    window: int = 128
    local_theta: float = 10_000.0
    global_theta: float = 160_000.0
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    pooling: str = "cls"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation(self.classifier_activation)
        if self.width // self.heads % 2:
            raise UserError(f"rotary heads need an even width, not {self.width // self.heads}")
        if self.pooling not in ("cls", "mean"):
            raise UserError(f"classifier_pooling {self.pooling!r} is not supported, only cls, mean")


class Rotary(NamedTuple):
    """cos and sin of the angles t·θ^(−2i/K) by which position t rotates pair i of a head."""

    cos: Float[Array, "T half"]
    sin: Float[Array, "T half"]

    @classmethod
    def of(cls, length: int, width: int, theta: float) -> "Rotary":
        """For positions 0 to length - 1 and heads of a width."""
        # As PyTorch rounds them: an angle multiplies what is off by the position.
        exponent = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        speed = 1 / (np.float64(theta) ** exponent.astype(np.float64)).astype(np.float32)
        angles = jnp.arange(length, dtype=jnp.float32)[:, None] * speed
        return cls(jnp.cos(angles), jnp.sin(angles))

    def turn(self, x: Float[Array, "B H R K"]) -> Float[Array, "B H R K"]:
        """The first R positions, rotated in float32; i and i + K/2 are a pair."""
        cos, sin = self.cos[: x.shape[2]], self.sin[: x.shape[2]]
        a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
        return turned.astype(x.dtype)


class Context(NamedTuple):
    """The values that all blocks share. Only the window is (T, T), and it is one for all texts."""

    padding: Float[Array, "B 1 1 T"]
    window: Float[Array, "1 1 T T"]
    local_rotary: Rotary
    global_rotary: Rotary


def context(config: ModernBertConfig, inputs: TextInputs) -> Context:
    """What closes padding and far positions, and the angles, for a batch."""
    length, head = inputs.valid.shape[1], config.width // config.heads
    places = jnp.arange(length)
    window = closed(jnp.abs(places[:, None] - places) <= config.window // 2)
    return Context(
        padding=padding_bias(inputs.valid),
        window=window[None, None],
        local_rotary=Rotary.of(length, head, config.local_theta),
        global_rotary=Rotary.of(length, head, config.global_theta),
    )


class Block(nn.Module):
    """One state -> the next: attention, then a gated feed-forward layer, each of a normed input.

    gated(x) = down(activation(a)·b), where (a, b) = up(x).
    """

    config: ModernBertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT
    number: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], context: Context, positions: int | None = None
    ) -> Float[Array, "B R D"]:
        """positions: compute only this many, the first ones; None: all."""
        config, dtype = self.config, self.dtype
        bias, rotary = context.padding, context.global_rotary
        if config.local[self.number]:
            bias, rotary = bias + context.window[:, :, :positions], context.local_rotary

        def normed(name: str, x: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
            return norm(config.epsilon, dtype, name, config.norm_bias)(x)

        def dense(width: int, name: str, use_bias: bool) -> nn.Dense:
            return linear(width, dtype, name, use_bias)

        # State 1 is normed already, so block 0 has no norm for it.
        reading = x if self.number == 0 else normed("mix_norm", x)
        qkv = dense(3 * config.width, "qkv", config.attention_bias)(reading)
        query, key, value = (split_heads(part, config.heads) for part in jnp.split(qkv, 3, axis=-1))
        query, key = rotary.turn(query[:, :, :positions]), rotary.turn(key)
        mixed = attend(self, query, key, value, bias, drop(self.dropout.attention))
        mixed = dense(config.width, "mix", config.attention_bias)(merge_heads(mixed))
        # PyTorch drops the attention's output at the rate of its weights.
        x = x[:, :positions] + drop(self.dropout.attention)(mixed)

        up = dense(2 * config.intermediate, "up", config.mlp_bias)(normed("up_norm", x))
        hidden, gate = jnp.split(up, 2, axis=-1)
        hidden = drop(self.dropout.hidden)(ACTIVATIONS[config.activation](hidden) * gate)
        return x + dense(config.width, "down", config.mlp_bias)(hidden)
