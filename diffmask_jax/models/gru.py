"""A gated recurrent unit over valid positions (Cho et al. 2014, in PyTorch's parameterisation)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import sigmoid, tanh
from jaxtyping import Array, Bool, Float

from diffmask_jax.models.initializers import uniform_within


class GRU(nn.Module):
    """Holds the parameters of one layer and reads a sequence with them.

    Gates are stacked in the order reset, update, candidate along the last axis of every array, as
    in `torch.nn.GRU`, so weights carry over by transposing.
    """

    width: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        valid: Bool[Array, "B T"],
        reading: Sequence[int] | None = None,
    ) -> Float[Array, "B H"]:
        """The recurrent state after the last valid position; padding leaves it untouched.

        reading: how many rows, from the first, have anything valid at each position or after it:
            falling numbers, for rows that stand longest first. The others are not computed there.
        """
        init = uniform_within(self.width**-0.5)
        input_kernel = self.param("input_kernel", init, (x.shape[-1], 3 * self.width))
        input_bias = self.param("input_bias", init, (3 * self.width,))
        hidden_kernel = self.param("hidden_kernel", init, (self.width, 3 * self.width))
        hidden_bias = self.param("hidden_bias", init, (3 * self.width,))
        h = jnp.zeros((x.shape[0], self.width), x.dtype)
        start = 0
        for rows, positions in itertools.groupby(reading or [len(x)] * x.shape[1]):
            stop = start + len(list(positions))
            here = slice(rows), slice(start, stop)
            # One large product for all inputs leaves a single small one inside the recurrence.
            projected = jnp.moveaxis(x[here], 1, 0) @ input_kernel + input_bias
            read = _read(h[:rows], projected, valid[here].T, hidden_kernel, hidden_bias)
            h, start = jnp.concatenate([read, h[rows:]]), stop
        return h


@jax.custom_vjp
def _read(
    h: Float[Array, "B H"],
    projected: Float[Array, "T B 3*H"],
    valid: Bool[Array, "T B"],
    hidden_kernel: Float[Array, "H 3*H"],
    hidden_bias: Float[Array, " 3*H"],
) -> Float[Array, "B H"]:
    """The state after some positions, from that before them.

    Its gradient is written out: a loop of two products and two fused operations, with one product
    for the weights after it. What JAX derives is as fast only if it is unrolled, and then takes
    three times as long to compile.
    """

    def step(h, position):
        projected_t, valid_t = position
        new = gru_step(h, projected_t, hidden_kernel, hidden_bias)
        return jnp.where(valid_t[:, None], new, h), None

    return jax.lax.scan(step, h, (projected, valid))[0]


def _read_forward(h, projected, valid, hidden_kernel, hidden_bias):
    """`_read`, and what its gradient needs of every position."""

    def step(h, position):
        projected_t, valid_t = position
        gates = _gates(h, projected_t, hidden_kernel, hidden_bias)
        return jnp.where(valid_t[:, None], _mixed(h, gates), h), (h, gates)

    last, (before, gates) = jax.lax.scan(step, h, (projected, valid))
    return last, (before, gates, valid, hidden_kernel)


def _read_backward(kept, slope):
    """Slopes of h, of the projected inputs and of the weights, from that of the last state."""
    before, gates, valid, hidden_kernel = kept

    def step(slope, position):
        h, (reset, update, candidate, h_n), valid_t = position
        here = jnp.where(valid_t[:, None], slope, 0)
        of_n = here * (1 - update) * (1 - candidate**2)
        of_u = here * (h - candidate) * update * (1 - update)
        of_r = of_n * h_n * reset * (1 - reset)
        of_product = jnp.concatenate([of_r, of_u, of_n * reset], axis=-1)
        through = jnp.where(valid_t[:, None], slope * update, slope)
        slope = through + of_product @ hidden_kernel.T
        return slope, (jnp.concatenate([of_r, of_u, of_n], axis=-1), of_product)

    slope, (of_projected, of_product) = jax.lax.scan(
        step, slope, (before, gates, valid), reverse=True
    )
    of_kernel = jnp.einsum("tbh,tbg->hg", before, of_product)
    return slope, of_projected, None, of_kernel, jnp.sum(of_product, axis=(0, 1))


_read.defvjp(_read_forward, _read_backward)


class _Gates(NamedTuple):
    """r, u and n, and the h·W_n + b_n that r multiplies."""

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

    projected: x·W + b of the input for the three gates, computed beforehand.
    """
    return _mixed(h, _gates(h, projected, hidden_kernel, hidden_bias))
