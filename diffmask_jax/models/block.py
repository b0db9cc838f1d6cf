"""BERT's block, which many encoders share: post-normed attention and feed-forward layers."""

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffmask_jax.models.attention import attend, merge_heads, split_heads
from diffmask_jax.models.config import ACTIVATIONS, NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.layers import drop, linear, norm


class Block(nn.Module):
    """One state -> the next: self-attention, then a feed-forward layer, each added and normed.

    dropped: the layers whose outputs training applies dropout to.
    """

    config: EncoderConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT
    dropped: tuple[str, ...] = ("mix", "down")

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        context: Float[Array, "#B #H #T T"],
        positions: int | None = None,
    ) -> Float[Array, "B R D"]:
        """context: a bias of every head's scores, such as `padding_bias`.

        positions: compute only this many, the first ones; None: all.
        """
        config, dtype = self.config, self.dtype

        def heads(name: str, x: Float[Array, "B S D"]) -> Float[Array, "B H S K"]:
            return split_heads(linear(config.width, dtype, name)(x), config.heads)

        drop_hidden = drop(self.dropout.hidden)

        def thinned(name: str, x: Float[Array, "B R D"]) -> Float[Array, "B R D"]:
            return drop_hidden(x) if name in self.dropped else x

        key, value, x = heads("key", x), heads("value", x), x[:, :positions]
        query, bias = heads("query", x), context[:, :, :positions]
        mixed = attend(self, query, key, value, bias, drop(self.dropout.attention))
        mixed = linear(config.width, dtype, "mix")(merge_heads(mixed))
        x = norm(config.epsilon, dtype, "mix_norm")(x + thinned("mix", mixed))

        hidden = ACTIVATIONS[config.activation](linear(config.intermediate, dtype, "up")(x))
        hidden = linear(config.width, dtype, "down")(hidden)
        return norm(config.epsilon, dtype, "down_norm")(x + thinned("down", hidden))
