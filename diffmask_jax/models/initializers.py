"""PyTorch's default initialisation, with which the paper's own models were trained."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Key


def uniform_within(bound: float) -> nn.initializers.Initializer:
    """U(−bound, bound)."""

    def init(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def dense(inputs: int, outputs: int, name: str | None = None) -> nn.Dense:
    """A linear layer that starts as `torch.nn.Linear` does: kernel and bias U(±1/√inputs)."""
    init = uniform_within(inputs**-0.5)
    return nn.Dense(outputs, kernel_init=init, bias_init=init, name=name)
