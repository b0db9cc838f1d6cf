"""The layers that the blocks of all encoders are made of: linear layers, norms, dropout."""

import flax.linen as nn
from jax.typing import DTypeLike

NORMAL = nn.initializers.normal(0.02)
"""The initialisation of the weights of fresh encoders and heads."""


def linear(width: int, dtype: DTypeLike, name: str, use_bias: bool = True) -> nn.Dense:
    """A linear layer whose weights are drawn from N(0, 0.02²) and whose biases start at 0."""
    return nn.Dense(width, use_bias=use_bias, dtype=dtype, kernel_init=NORMAL, name=name)


def embedding(count: int, width: int, name: str | None = None) -> nn.Embed:
    """A table of `count` vectors drawn from N(0, 0.02²)."""
    return nn.Embed(count, width, embedding_init=NORMAL, name=name)


def norm(epsilon: float, dtype: DTypeLike, name: str, use_bias: bool = True) -> nn.LayerNorm:
    """Layer normalisation over the last axis."""
    # E[x²] - E[x]², linen's default, cancels where the mean is large, and is no faster here.
    return nn.LayerNorm(
        epsilon=epsilon, dtype=dtype, use_fast_variance=False, use_bias=use_bias, name=name
    )


def drop(rate: float) -> nn.Dropout:
    """Dropout: a value becomes 0 with probability `rate`, else it is divided by 1 - rate."""
    return nn.Dropout(rate, deterministic=False)
