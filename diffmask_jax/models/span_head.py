"""The head for question answering: logits of where the answer starts and ends."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffmask_jax.game.divergences import close_padding
from diffmask_jax.models.config import NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.layers import drop, linear


class SpanHead(nn.Module):
    """The last state -> start and end logits of every position, always float32: spans(h).

    Padding is closed, as `SPAN` expects.
    """

    config: EncoderConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"]
    ) -> Float[Array, "B T 2"]:
        return span_logits(drop(self.dropout.spans)(x), valid)


def span_logits(x: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B T 2"]:
    """The last layer of every such head; called within a compact linen module."""
    return close_padding(linear(2, jnp.float32, "spans")(x), valid)
