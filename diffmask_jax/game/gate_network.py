"""The gate network: what a probe computes at one layer, one logit per position."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key


class GateNetwork(nn.Module):
    """g: (B, T, F) -> (B, T) logits; 10·tanh(w·tanh(W·x + b) + b') + c, W and w weight-normalised.

    x is given in parts, `features` (B, T, F₁), (B, T, F₂), …, which are never concatenated. c is
    learned and starts at 5, so that gates start open (P(z ≠ 0) ≈ 0.99).
    """

    hidden: int

    @nn.compact
    def __call__(self, *features: Float[Array, "B T _"]) -> Float[Array, "B T"]:
        inputs = sum(feature.shape[-1] for feature in features)
        gate = {
            "first": _Affine(self.hidden, name="first")(inputs),
            "first_norm": _Norms("first", name="first_norm")(self.hidden),
            "second": _Affine(1, name="second")(self.hidden),
            "second_norm": _Norms("second", name="second_norm")(1),
            "shift": self.param("shift", nn.initializers.constant(5.0), ()),
        }
        return logits_of(gate, first_product(gate, *features))


NORM = 3**-0.5
"""The norm of every column of a fresh kernel. PyTorch's default draws entries uniformly from
±1/√in, whose variance is 1/(3·in): a column of `in` of them has a norm of about 1/√3."""


def _columns_of_equal_norm(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "F H"]:
    kernel = nn.linear.default_kernel_init(key, shape)
    return NORM * kernel / jnp.linalg.norm(kernel, axis=0)


class _Affine(nn.Module):
    width: int

    @nn.compact
    def __call__(self, inputs: int) -> dict[str, Array]:
        kernel = self.param("kernel", _columns_of_equal_norm, (inputs, self.width))
        return {"kernel": kernel, "bias": self.param("bias", nn.initializers.zeros, (self.width,))}


class _Norms(nn.Module):
    of: str

    @nn.compact
    def __call__(self, width: int) -> dict[str, Float[Array, " H"]]:
        name = f"{self.of}/kernel/scale"  # as `flax.linen.WeightNorm` calls it
        return {name: self.param(name, nn.initializers.constant(NORM), (width,))}


def _normalised(gate: Any, name: str) -> Float[Array, "F H"]:
    """scale · W/‖W‖, column by column."""
    kernel, scale = gate[name]["kernel"], gate[f"{name}_norm"][f"{name}/kernel/scale"]
    return kernel * (scale * jax.lax.rsqrt(jnp.sum(kernel**2, axis=0) + 1e-12))


def first_product(gate: Any, *features: Float[Array, "B T _"]) -> Float[Array, "B T H"]:
    """W·x, as the sum of each part of x times its own rows of the kernel."""
    ends = np.cumsum([feature.shape[-1] for feature in features])
    rows = jnp.split(_normalised(gate, "first"), ends[:-1])
    return functools.reduce(operator.add, map(operator.matmul, features, rows))


def logits_of(gate: Any, products: Float[Array, "*B T H"]) -> Float[Array, "*B T"]:
    """10·tanh(w·tanh(W·x + b) + b') + c, given W·x."""
    x = jnp.tanh(products + gate["first"]["bias"]) @ _normalised(gate, "second")
    return 10 * jnp.tanh(x + gate["second"]["bias"])[..., 0] + gate["shift"]


def without_first_kernel(gate: Any) -> Any:
    """The parameters that `logits_of` needs: all but the kernel used by `first_product`."""
    return {**gate, "first": {"bias": gate["first"]["bias"]}, "first_norm": {}}


SPREAD = 1.0, 0.05
"""Standard deviations, over positions, of the arguments of a calibrated network's two tanhs."""

TINY = 1e-3  # a state that deviates less is the same everywhere: noise that is not scaled up


def calibrated(
    gate: Any, x: Float[Array, "B T F"], valid: Bool[Array | np.ndarray, "B T"]
) -> dict[str, Any]:
    """The same gate network, adjusted to the scale of its inputs x.

    Data-dependent initialisation (Salimans & Kingma 2016, section 3): where t = W·x/‖W‖ has mean μ
    and deviation σ over the valid positions, scale = s/σ and bias = −s·μ/σ, with s from `SPREAD`.
    However small or large the states are, votes distinguish tokens, no tanh saturates, and all
    votes start near c, whatever the seed.
    """
    new, x = dict(gate), x.astype(jnp.float32)
    for name, spread in zip(("first", "second"), SPREAD, strict=True):
        kernel = gate[name]["kernel"]
        t = x @ (kernel / jnp.linalg.norm(kernel, axis=0))
        mean = jnp.mean(t, axis=(0, 1), where=valid[..., None])
        scale = spread / jnp.maximum(jnp.std(t, axis=(0, 1), where=valid[..., None]), TINY)
        new[name] = gate[name] | {"bias": -scale * mean}
        new[f"{name}_norm"] = {f"{name}/kernel/scale": scale}
        x = jnp.tanh(scale * (t - mean))
    return new
