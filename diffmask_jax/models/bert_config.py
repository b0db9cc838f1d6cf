"""The sizes of a BERT classifier, its activation and its dropout."""

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
    """x·Φ(x), exact. `jax.nn.gelu` takes erfc, which costs 5% of a whole pass on a CPU."""
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * np.float32(0.5**0.5)))).astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class Dropout(NamedTuple):
    """The shares that training drops at random: of hidden values, of attention, of the pooled."""

    hidden: float
    attention: float
    classifier: float


NO_DROPOUT = Dropout(0.0, 0.0, 0.0)
USUAL_DROPOUT = Dropout(0.1, 0.1, 0.1)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT classifier, and the dropout to train it with.

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

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"width {self.width} is not a multiple of the {self.heads} heads")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(f"activation {self.activation!r} is not supported, only {known}")
        check_rates(self.dropout)


def check_rates(rates: tuple[float, ...]) -> None:
    """Raises: UserError if a dropout rate lies outside [0, 1)."""
    if not all(0 <= rate < 1 for rate in rates):
        raise UserError(f"dropout rates lie in [0, 1), not {', '.join(map(str, rates))}")
