"""A gated recurrent unit over valid positions (Cho et al. 2014, in PyTorch's parameterisation)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import sigmoid, tanh
from jaxtyping import Array, Bool, Float

from diffmask_jax.models.initializers import uniform_within

SMALL = 64


class GRU(nn.Module):
    """Holds the parameters of one layer and reads a sequence with them.

    Gates are stacked in the order reset, update, candidate along the last axis of every array, as
    in `torch.nn.GRU`, so weights carry over by transposing.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B H"]:
        """The recurrent state after the last valid position; padding leaves it untouched."""
        init = uniform_within(self.width**-0.5)
        input_kernel = self.param("input_kernel", init, (x.shape[-1], 3 * self.width))
        input_bias = self.param("input_bias", init, (3 * self.width,))
        hidden_kernel = self.param("hidden_kernel", init, (self.width, 3 * self.width))
        hidden_bias = self.param("hidden_bias", init, (3 * self.width,))
        # One large product for all inputs leaves a single small one inside the recurrence.
        projected = jnp.moveaxis(x @ input_kernel + input_bias, 1, 0)

        def read(h, step):
            projected_t, valid_t = step
            new = gru_step(h, projected_t, hidden_kernel, hidden_bias)
            return jnp.where(valid_t[:, None], new, h), None

        start = jnp.zeros((x.shape[0], self.width), x.dtype)
        # Unrolled, XLA fuses across steps: 2–4 times faster on a CPU where the products are small.
        # Where they are large it only makes compiling slower.
        unroll = min(x.shape[1], 16) if self.width <= SMALL else 1
        h, _ = jax.lax.scan(read, start, (projected, valid.T), unroll=unroll)
        return h


def gru_step(
    h: Float[Array, "*B H"],
    projected: Float[Array, "*B 3*H"],
    hidden_kernel: Float[Array, "H 3*H"],
    hidden_bias: Float[Array, " 3*H"],
) -> Float[Array, "*B H"]:
    """h' = (1−u)·n + u·h with r = σ(·), u = σ(·), n = tanh(x_n + r·(h·W_n + b_n)).

    projected: x·W + b of the input for the three gates, computed beforehand.
    """
    x_r, x_u, x_n = jnp.split(projected, 3, axis=-1)
    h_r, h_u, h_n = jnp.split(h @ hidden_kernel + hidden_bias, 3, axis=-1)
    reset, update = sigmoid(x_r + h_r), sigmoid(x_u + h_u)
    return (1 - update) * tanh(x_n + reset * h_n) + update * h
