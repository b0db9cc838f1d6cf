"""A gated recurrent unit over valid positions (Cho et al. 2014, in PyTorch's parameterisation)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import sigmoid, tanh
from jaxtyping import Array, Bool, Float

from diffmask_jax.models.initializers import uniform_within
from diffmask_jax.models.lanes import make_lanes


class GRU(nn.Module):
    """One recurrent layer.

    Gates are stacked in the order reset, update, candidate along the last axis of every array, as
    in `torch.nn.GRU`, so that its weights need only be transposed.
    """

    width: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        valid: Bool[Array, "B T"],
        reading: Sequence[int] | None = None,
    ) -> Float[Array, "B H"]:
        """The recurrent state after the last valid position; padding does not change it.

        reading: for each position, how many rows, from the first on, are not yet over: falling
            numbers, for rows sorted by falling length. Rows are then read two to a lane
            (`models.lanes`), which skips nearly all padding.
        """
        init = uniform_within(self.width**-0.5)
        input_kernel = self.param("input_kernel", init, (x.shape[-1], 3 * self.width))
        input_bias = self.param("input_bias", init, (3 * self.width,))
        hidden_kernel = self.param("hidden_kernel", init, (self.width, 3 * self.width))
        hidden_bias = self.param("hidden_bias", init, (3 * self.width,))

        weights = hidden_kernel, hidden_bias, input_kernel, input_bias
        if reading is None:
            x, valid = jnp.moveaxis(x, 1, 0), valid.T
            return _read(*weights, x, valid, np.zeros(valid.shape, bool))[1]
        lanes = make_lanes(reading, len(x))
        found = _read(*weights, lanes.fold(x), lanes.fold(valid), lanes.begins)
        return lanes.unfold(*found, rows=len(x))


@jax.custom_vjp
def _read(
    hidden_kernel: Float[Array, "H 3*H"],
    hidden_bias: Float[Array, " 3*H"],
    input_kernel: Float[Array, "D 3*H"],
    input_bias: Float[Array, " 3*H"],
    x: Float[Array, "P W D"],
    valid: Bool[Array, "P W"],
    begins: Bool[Array | np.ndarray, "P W"],
) -> tuple[Float[Array, "W H"], Float[Array, "W H"]]:
    """The final states of each lane's first and second sequence.

    The gradient is written by hand: a loop of a few products and fused operations, followed by one
    product per kernel. JAX's own is as fast only if it is unrolled, and then takes three times as
    long to compile. Inputs are projected inside the loop, since a projection is three times as wide
    as a state, and may be much wider than the input.
    """

    def step(carry, position):
        x_t, valid_t, begins_t = position
        h, ended = _begun(carry, begins_t)
        new = gru_step(h, x_t @ input_kernel + input_bias, hidden_kernel, hidden_bias)
        return (jnp.where(valid_t[:, None], new, h), ended), None

    (last, ended), _ = jax.lax.scan(step, _start(x, hidden_kernel), (x, valid, begins))
    return ended, last


def _start(x, hidden_kernel):
    nothing = jnp.zeros((x.shape[1], len(hidden_kernel)), x.dtype)
    return nothing, nothing


def _begun(carry, begins):
    """The states before a position, reset where a sequence begins, and the final states so far."""
    h, ended = carry
    return jnp.where(begins[:, None], 0, h), jnp.where(begins[:, None], h, ended)


def _read_forward(hidden_kernel, hidden_bias, input_kernel, input_bias, x, valid, begins):
    """`_read`, and the residuals for its gradient."""

    def step(carry, position):
        x_t, valid_t, begins_t = position
        h, ended = _begun(carry, begins_t)
        gates = _gates(h, x_t @ input_kernel + input_bias, hidden_kernel, hidden_bias)
        return (jnp.where(valid_t[:, None], _mixed(h, gates), h), ended), (h, gates)

    (last, ended), kept = jax.lax.scan(step, _start(x, hidden_kernel), (x, valid, begins))
    return (ended, last), (hidden_kernel, input_kernel, x, valid, begins, *kept)


def _read_backward(residuals, cotangents):
    """The gradients of the weights and of the inputs, from those of both final states.

    of_y is the cotangent of y.
    """
    hidden_kernel, input_kernel, x, valid, begins, before, gates = residuals
    of_ended, of_last = cotangents

    def step(of_h, position):
        h, (reset, update, candidate, h_n), valid_t, begins_t = position
        here = jnp.where(valid_t[:, None], of_h, 0)
        of_n = here * (1 - update) * (1 - candidate**2)
        of_u = here * (h - candidate) * update * (1 - update)
        of_r = of_n * h_n * reset * (1 - reset)
        of_gates = jnp.concatenate([of_r, of_u, of_n], axis=-1)
        of_product = jnp.concatenate([of_r, of_u, of_n * reset], axis=-1)
        through = jnp.where(valid_t[:, None], of_h * update, of_h)
        of_h = jnp.where(begins_t[:, None], of_ended, through + of_product @ hidden_kernel.T)
        return of_h, (of_gates @ input_kernel.T, of_gates, of_product)

    _, (of_x, of_gates, of_product) = jax.lax.scan(
        step, of_last, (before, gates, valid, begins), reverse=True
    )
    of_weights = [
        of_weight
        for factor, of_sum in ((before, of_product), (x, of_gates))
        for of_weight in (jnp.einsum("twd,twg->dg", factor, of_sum), jnp.sum(of_sum, axis=(0, 1)))
    ]
    return *of_weights, of_x, None, None


_read.defvjp(_read_forward, _read_backward)


class _Gates(NamedTuple):
    """r, u and n, and h·W_n + b_n, which r multiplies."""

    reset: Float[Array, "*B H"]
    update: Float[Array, "*B H"]
    candidate: Float[Array, "*B H"]
    h_n: Float[Array, "*B H"]


def _gates(
    h: Float[Array, "*B H"],
    projected: Float[Array, "*B 3*H"],
    hidden_kernel: Float[Array, "H 3*H"],
    hidden_bias: Float[Array, " 3*H"],
) -> _Gates:
    x_r, x_u, x_n = jnp.split(projected, 3, axis=-1)
    h_r, h_u, h_n = jnp.split(h @ hidden_kernel + hidden_bias, 3, axis=-1)
    reset, update = sigmoid(x_r + h_r), sigmoid(x_u + h_u)
    return _Gates(reset, update, tanh(x_n + reset * h_n), h_n)


def _mixed(h: Float[Array, "*B H"], gates: _Gates) -> Float[Array, "*B H"]:
    return (1 - gates.update) * gates.candidate + gates.update * h


def gru_step(
    h: Float[Array, "*B H"],
    projected: Float[Array, "*B 3*H"],
    hidden_kernel: Float[Array, "H 3*H"],
    hidden_bias: Float[Array, " 3*H"],
) -> Float[Array, "*B H"]:
    """h' = (1−u)·n + u·h with r = σ(·), u = σ(·), n = tanh(x_n + r·(h·W_n + b_n)).

    projected: x·W + b for the three gates.
    """
    return _mixed(h, _gates(h, projected, hidden_kernel, hidden_bias))
