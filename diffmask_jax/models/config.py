"""What all encoders' configurations have in common: sizes, an activation, dropout."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.errors import UserError


def _gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x·Φ(x), exact. `jax.nn.gelu` uses erfc, which costs 5% of a whole pass on a CPU."""
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * np.float32(0.5**0.5)))).astype(x.dtype)


def _quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x * jax.nn.sigmoid(1.702 * x)


_tanh_gelu = functools.partial(jax.nn.gelu, approximate=True)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "gelu_python_tanh": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_accurate": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


class Dropout(NamedTuple):
    """The dropout rates of training: of hidden values, attention weights, and the head's input.

    embedding, pooler, spans: of state 1, and of the inputs of a pooler and of a span head, in
    encoders that have separate rates for them.
    """

    hidden: float
    attention: float
    classifier: float
    embedding: float = 0.0
    pooler: float = 0.0
    spans: float = 0.0


NO_DROPOUT = Dropout(0.0, 0.0, 0.0)
USUAL_DROPOUT = Dropout(0.1, 0.1, 0.1)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The sizes of an encoder with a head, and the dropout to train it with.

    Attributes:
        positions: the largest number of word pieces of a text.
        segments: kinds of segments, 0 if it has no segment embeddings.
        classes: outputs of its head; two, at every position, for a span head.
        embedding: width of the word embeddings; None: that of the other states.

    Raises: UserError if `width` is not a multiple of `heads`, the activation is unknown, or a
        dropout rate lies outside [0, 1).
    """

    vocabulary: int
    positions: int
    segments: int
    width: int
    heads: int
    blocks: int
    intermediate: int
    classes: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    dropout: Dropout = USUAL_DROPOUT
    embedding: int | None = None

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"width {self.width} is not a multiple of the {self.heads} heads")
        check_activation(self.activation)
        check_rates(self.dropout)

    @property
    def word_width(self) -> int:
        """The width of state 0."""
        return self.width if self.embedding is None else self.embedding


def check_activation(name: str) -> None:
    """Raises: UserError if we do not know the activation."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"activation {name!r} is not supported, only {known}")


def check_rates(rates: tuple[float, ...]) -> None:
    """Raises: UserError if a dropout rate lies outside [0, 1)."""
    if not all(0 <= rate < 1 for rate in rates):
        raise UserError(f"dropout rates must lie in [0, 1), not {', '.join(map(str, rates))}")
