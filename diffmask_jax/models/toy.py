"""The counting model of the toy task (paper, section 3.1 and appendix C.1).

Query ⟨n, m⟩ and digits are embedded (64) and concatenated per position; a feed-forward layer maps
192 → 64 → tanh → 2; a GRU of width 64 reads the 2-d states; a linear layer on its last state gives
the log-odds of #n > #m. States: 0 = the embedded digits (64), 1 = the feed-forward output (2).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.game.divergences import BERNOULLI
from diffmask_jax.game.model import Layer, Model, States
from diffmask_jax.models.gru import GRU, gru_step
from diffmask_jax.models.initializers import dense

WIDTH = 64


class ToyInputs(NamedTuple):
    """Queries (B, 2) and digits (B, T) in 0…9, with the positions that are not padding."""

    query: Int[Array | np.ndarray, "B 2"]
    digits: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]


class _Embedding(nn.Module):
    @nn.compact
    def __call__(self, digits: Int[Array, "*b"]) -> Float[Array, "*b D"]:
        return nn.Embed(10, WIDTH, embedding_init=nn.initializers.normal(1.0))(digits)


class _FeedForward(nn.Module):
    @nn.compact
    def __call__(self, x: Float[Array, "B T F"]) -> Float[Array, "B T 2"]:
        return dense(WIDTH, 2)(nn.tanh(dense(3 * WIDTH, WIDTH)(x)))


class _Counter(nn.Module):
    @nn.compact
    def __call__(
        self,
        state: Float[Array, "B T 2"],
        valid: Bool[Array, "B T"],
        reading: Sequence[int] | None = None,
    ) -> Float[Array, " B"]:
        return dense(WIDTH, 1)(GRU(WIDTH)(state, valid, reading))[:, 0]


def init(key: Key[Array, ""]) -> dict[str, Any]:
    """Fresh parameters."""
    keys = jax.random.split(key, 4)
    digits = jnp.zeros((1, 1), jnp.int32)
    modules: dict[str, tuple[nn.Module, *tuple[Array, ...]]] = {
        "query": (_Embedding(), digits),
        "digit": (_Embedding(), digits),
        "feed_forward": (_FeedForward(), jnp.zeros((1, 1, 3 * WIDTH))),
        "counter": (_Counter(), jnp.zeros((1, 1, 2)), jnp.ones((1, 1), bool)),
    }
    return {
        name: module.init(k, *arguments)["params"]
        for k, (name, (module, *arguments)) in zip(keys, modules.items(), strict=True)
    }


def _apply(module: nn.Module, params: Any, *inputs: Any) -> Any:
    return module.apply({"params": params}, *inputs)


def _feed_forward(params: Any, inputs: ToyInputs, embedded: Array | None = None) -> Array:
    """`_FeedForward` of [query; embedded], by default the embedded digits of the inputs.

    The first layer is applied once per digit, not once per position, and its outputs are selected
    by a product with one-hot vectors, since the gradient of indexing adds up rows one by one.
    """
    first, second = params["feed_forward"]["Dense_1"], params["feed_forward"]["Dense_0"]
    kernels = jnp.split(first["kernel"], 3)

    def seen(name: str, digits: Array | np.ndarray, kernel: Array) -> Array:
        table = params[name]["Embed_0"]["embedding"] @ kernel
        return jnp.matmul(jax.nn.one_hot(digits, 10), table)

    x = sum(seen("query", jnp.asarray(inputs.query)[:, i], kernels[i]) for i in (0, 1))
    x = jnp.expand_dims(x + first["bias"], 1)
    x += seen("digit", inputs.digits, kernels[2]) if embedded is None else embedded @ kernels[2]
    return jnp.tanh(x) @ second["kernel"] + second["bias"]


def _count(params: Any, inputs: ToyInputs, state: Array, reading: Sequence[int] | None) -> Array:
    return _apply(_Counter(), params["counter"], state, inputs.valid, reading)


def _states(
    params: Any, inputs: ToyInputs, reading: Sequence[int] | None
) -> tuple[Float[Array, " B"], States]:
    embedded = _apply(_Embedding(), params["digit"], inputs.digits)
    state = _feed_forward(params, inputs)
    return _count(params, inputs, state, reading), (embedded, state)


def _logits_from(
    params: Any,
    inputs: ToyInputs,
    state: Float[Array, "B T D"],
    layer: Layer,
    reading: Sequence[int] | None,
) -> Float[Array, " B"]:
    if layer == 0:
        state = _feed_forward(params, inputs, state)
    return _count(params, inputs, state, reading)


def make_model(reading: Sequence[int] | None = None) -> Model:
    """The counting model; with `reading`, for batches sorted by falling length that have at most so
    many rows at each position (`models.gru.GRU`)."""
    return Model(
        states=functools.partial(_states, reading=reading),
        logits_from=functools.partial(_logits_from, reading=reading),
        layers=("embedding", "hidden"),
        family=BERNOULLI,
    )


TOY = make_model()


def project(
    params: Any, inputs: ToyInputs, state: Float[Array, "B T D"], layer: int
) -> Float[Array, "B T _"]:
    """The recurrence's projected inputs at every position, with a state in place of a layer's."""
    gru = params["counter"]["GRU_0"]
    if layer == 0:
        state = _feed_forward(params, inputs, state)
    return state @ gru["input_kernel"] + gru["input_bias"]


def step(
    params: Any, h: Float[Array, "*B H"], projected: Float[Array, "*_ 3*H"]
) -> Float[Array, "*B H"]:
    """The recurrent state after one more position."""
    gru = params["counter"]["GRU_0"]
    projected = jnp.broadcast_to(projected, (*h.shape[:-1], projected.shape[-1]))
    return gru_step(h, projected, gru["hidden_kernel"], gru["hidden_bias"])


def finish(params: Any, h: Float[Array, "*B H"]) -> Float[Array, "*B"]:
    """The log-odds, from the last recurrent state."""
    last = params["counter"]["Dense_0"]
    return (h @ last["kernel"] + last["bias"])[..., 0]
