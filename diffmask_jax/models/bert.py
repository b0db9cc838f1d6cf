"""BERT with a classification head: its parts, and as a `Model` in evaluation mode.

State 0 is the word-embedding look-up, state 1 the embedding layer's output, the others the outputs
of the blocks. The linen modules own parameters and one local computation each; plain functions
chain them, because `jax.lax.cond`, which skips blocks at run time, cannot hold bound modules.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.errors import UserError
from diffmask_jax.models.model import Layer, Model, Params, States


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


class BertInputs(NamedTuple):
    """A padded batch of texts, or of pairs of texts told apart by their segment."""

    tokens: Int[Array | np.ndarray, "B T"]
    segments: Int[Array | np.ndarray, "B T"]
    valid: Bool[Array | np.ndarray, "B T"]


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


_normal = nn.initializers.normal(0.02)


def word_embedding(config: BertConfig) -> nn.Embed:
    """Word pieces -> state 0."""
    return nn.Embed(config.vocabulary, config.width, embedding_init=_normal)


class Embeddings(nn.Module):
    """State 0 -> state 1: the position and segment embeddings are added and the sum normalised."""

    config: BertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, words: Float[Array, "B T D"], segments: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        table = functools.partial(nn.Embed, features=self.config.width, embedding_init=_normal)
        position = table(self.config.positions, name="position")(jnp.arange(words.shape[1]))
        segment = table(self.config.segments, name="segment")(segments)
        normed = _norm(self.config, self.dtype, "norm")(words + segment + position)
        return _drop(self.dropout.hidden)(normed)


class Block(nn.Module):
    """One state -> the next: self-attention, then a feed-forward layer, each added and normed."""

    config: BertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], bias: Float[Array, "B 1 1 T"]
    ) -> Float[Array, "B T D"]:
        config = self.config
        linear = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_normal)
        norm = functools.partial(_norm, config, self.dtype)
        drop = _drop(self.dropout.hidden)

        def heads(name: str) -> Float[Array, "B H T K"]:
            y = linear(config.width, name=name)(x)
            return y.reshape(*y.shape[:-1], config.heads, -1).swapaxes(1, 2)

        drop_attention = _drop(self.dropout.attention)
        mixed = attend(heads("query"), heads("key"), heads("value"), bias, drop_attention)
        mixed = mixed.swapaxes(1, 2).reshape(x.shape)
        x = norm("mix_norm")(x + drop(linear(config.width, name="mix")(mixed)))

        hidden = ACTIVATIONS[config.activation](linear(config.intermediate, name="up")(x))
        return norm("down_norm")(x + drop(linear(config.width, name="down")(hidden)))


class Head(nn.Module):
    """The last state of the first token, [CLS] -> logits, always float32."""

    config: BertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B C"]:
        linear = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_normal)
        pooled = jnp.tanh(linear(self.config.width, name="pooler")(x[:, 0]))
        pooled = _drop(self.dropout.classifier)(pooled)
        return linear(self.config.classes, name="classifier")(pooled).astype(jnp.float32)


def _norm(config: BertConfig, dtype: DTypeLike, name: str) -> nn.LayerNorm:
    # E[x²] - E[x]², linen's default, cancels where the mean is large; it is no faster here.
    return nn.LayerNorm(epsilon=config.epsilon, dtype=dtype, use_fast_variance=False, name=name)


def _drop(rate: float) -> nn.Dropout:
    """Each value is 0 with this probability, else divided by 1 - rate; at 0 the identity."""
    return nn.Dropout(rate, deterministic=False)


def attend(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T K"],
    bias: Float[Array, "B 1 1 T"],
    drop: Callable[[Array], Array],
) -> Float[Array, "B H T K"]:
    """drop(softmax(q·kᵀ/√K + bias))·v for every head; the softmax is taken in float32."""
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bhqk,bhsk->bhqs", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores + bias, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqs,bhsk->bhqk", drop(weights), value)


def padding_bias(valid: Bool[Array | np.ndarray, "B T"]) -> Float[Array, "B 1 1 T"]:
    """0 where valid, elsewhere so low that no score lifts it and the attention is exactly 0.

    Finite, so that a row with nothing valid gives numbers and not nan.
    """
    lowest = jnp.finfo(jnp.float32).min / 2
    return jnp.where(valid, 0.0, lowest)[:, None, None, :]


def init(key: Key[Array, ""], config: BertConfig) -> Params:
    """Random float32 parameters: {"word", "embeddings", "blocks": one per block, "head"}."""
    word_key, embeddings_key, head_key, *block_keys = jax.random.split(key, 3 + config.blocks)
    token, state = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, config.width))
    block, bias = Block(config, jnp.float32), jnp.zeros((1, 1, 1, 1))
    return {
        "word": word_embedding(config).init(word_key, token)["params"],
        "embeddings": Embeddings(config, jnp.float32).init(embeddings_key, state, token)["params"],
        "blocks": tuple(block.init(block_key, state, bias)["params"] for block_key in block_keys),
        "head": Head(config, jnp.float32).init(head_key, state)["params"],
    }


def bert_classifier(config: BertConfig, dtype: DTypeLike = jnp.float32) -> Model:
    """BERT as the pair of functions `Model` asks for, over `BertInputs` and parameters of `init`.

    It computes and keeps its states in `dtype`; parameters and logits stay float32. Positions
    count from the left, so padding belongs on the right.

    Raises: UserError, when called, if a text is longer than the model has positions.
    """

    def steps(params: Params, inputs: BertInputs) -> list[Callable[[Array], Array]]:
        """The functions that take each state to the one above it, state 0 first."""
        check_length(inputs.valid.shape[1], config)
        embed = _function(Embeddings(config, dtype), params["embeddings"])
        blocks = [_function(Block(config, dtype), block) for block in params["blocks"]]
        bias = padding_bias(inputs.valid)
        return [
            functools.partial(embed, segments=inputs.segments),
            *(functools.partial(block, bias=bias) for block in blocks),
        ]

    def classify(params: Params, last: Float[Array, "B T D"]) -> Float[Array, "B C"]:
        return _function(Head(config, dtype), params["head"])(last)

    def states(params: Params, inputs: BertInputs) -> tuple[Float[Array, "B C"], States]:
        words = _function(word_embedding(config), params["word"])(inputs.tokens)
        found = [words.astype(dtype)]
        for step in steps(params, inputs):
            found.append(step(found[-1]))
        return classify(params, found[-1]), tuple(found)

    def logits_from(
        params: Params, inputs: BertInputs, state: Float[Array, "B T D"], layer: Layer
    ) -> Float[Array, "B C"]:
        state = state.astype(dtype)
        for below, step in enumerate(steps(params, inputs)):
            if isinstance(layer, jax.Array):
                state = jax.lax.cond(layer <= below, step, lambda same: same, state)
            elif layer <= below:
                state = step(state)
        return classify(params, state)

    numbers = (str(number) for number in range(1, config.blocks + 1))
    return Model(states, logits_from, layers=("W", "E", *numbers))


def _function(module: nn.Module, params: Params) -> Callable[..., Any]:
    return functools.partial(module.apply, {"params": params})


def check_length(length: int, config: BertConfig) -> None:
    """Raises: UserError if a text of so many word pieces is more than the model can read."""
    if length > config.positions:
        raise UserError(
            f"a text of {length} word pieces is too long: the model has {config.positions} "
            "positions; shorten it"
        )
