"""The gate network: what a probe makes at one layer of the states it reads, a logit a position."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key


class GateNetwork(nn.Module):
    """g: (B, T, F) -> (B, T) logits; 10·tanh(w·tanh(W·x + b) + b') + c, weights normalised.

    x is what stands in all of `features` together, (B, T, F₁), (B, T, F₂), …, of which no
    concatenation is made. c is learned and starts at 5, so that gates start open (P(z ≠ 0) ≈ 0.99).
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
        return voted(gate, read(gate, *features))


NORM = 3**-0.5
"""Of a fresh kernel row: that of one drawn as PyTorch draws it, uniform in ±1/√in."""


def _rows_of_equal_norm(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "F H"]:
    kernel = nn.linear.default_kernel_init(key, shape)
    return NORM * kernel / jnp.linalg.norm(kernel, axis=0)


class _Affine(nn.Module):
    width: int

    @nn.compact
    def __call__(self, inputs: int) -> dict[str, Array]:
        kernel = self.param("kernel", _rows_of_equal_norm, (inputs, self.width))
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


def read(gate: Any, *features: Float[Array, "B T _"]) -> Float[Array, "B T H"]:
    """W·x: of every part of x with its own rows of the kernel."""
    ends = np.cumsum([feature.shape[-1] for feature in features])
    rows = jnp.split(_normalised(gate, "first"), ends[:-1])
    return functools.reduce(operator.add, map(operator.matmul, features, rows))


def voted(gate: Any, products: Float[Array, "*B T H"]) -> Float[Array, "*B T"]:
    """10·tanh(w·tanh(W·x + b) + b') + c from W·x, with the parameters of one gate network."""
    x = jnp.tanh(products + gate["first"]["bias"]) @ _normalised(gate, "second")
    return 10 * jnp.tanh(x + gate["second"]["bias"])[..., 0] + gate["shift"]


def behind_first(gate: Any) -> Any:
    """The parameters of a gate network but those that `read` has used."""
    return {**gate, "first": {"bias": gate["first"]["bias"]}, "first_norm": {}}


SPREAD = 1.0, 0.05
"""Standard deviations, over positions, of what the two tanhs of a calibrated network are given."""

TINY = 1e-3  # below this deviation a state says the same everywhere, and is not blown up


def calibrated(
    gate: Any, x: Float[Array, "B T F"], valid: Bool[Array | np.ndarray, "B T"]
) -> dict[str, Any]:
    """The same gate network, set to the scale of what it will read, x.

    Data-dependent initialisation (Salimans & Kingma 2016, section 3): t = W·x/‖W‖ has mean μ and
    deviation σ over the valid positions; then scale = s/σ and bias = −s·μ/σ, `SPREAD` being s. So
    no network, however small or large its states, is one that hardly tells tokens apart or one
    whose tanhs are shut, and all votes start near c, whatever the seed.
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
