"""The optimisation that the two noise-based methods share: one small problem per example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from diffmask_jax.game.optimizers import scale_by_standard_deviation

RATE = 0.1


def minimise(
    key: Key[Array, ""],
    loss: Callable[[Float[Array, "B T"], Key[Array, ""]], Float[Array, " B"]],
    start: Float[Array, "B T"],
    steps: int,
) -> Float[Array, "B T"]:
    """Centered RMSprop (rate 0.1, decay 0.99) on loss(variables, key) of all examples at once.

    The losses are summed and the optimiser is elementwise, so examples do not interact.
    """
    optimizer = optax.chain(scale_by_standard_deviation(), optax.scale_by_learning_rate(RATE))
    gradient = jax.grad(lambda x, k: jnp.sum(loss(x, k)))

    def body(carry: tuple, k: Array) -> tuple[tuple, None]:
        x, state = carry
        update, state = optimizer.update(gradient(x, k), state)
        return (optax.apply_updates(x, update), state), None

    (x, _), _ = jax.lax.scan(body, (start, optimizer.init(start)), jax.random.split(key, steps))
    return x
