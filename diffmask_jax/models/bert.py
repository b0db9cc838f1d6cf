"""BERT with a classification head as a `Model` in evaluation mode.

State 0 is the word-embedding look-up, state 1 the embedding layer's output, the others the outputs
of the blocks. Plain functions chain the linen modules of `bert_parts`, because `jax.lax.cond`,
which skips blocks at run time, cannot hold bound modules.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Layer, Model, Params, States
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.models.bert_parts import (
    READ,
    Block,
    Embeddings,
    Head,
    padding_bias,
    word_embedding,
)


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


def bert_classifier(
    config: BertConfig, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Model:
    """BERT as the pair of functions `Model` asks for, over `TextInputs` and parameters of `init`.

    It computes and keeps its states in `dtype`; parameters and logits stay float32. Positions
    count from the left, so padding belongs on the right.

    remat: a backward pass finds the blocks' inputs alone in memory and computes the rest again, a
    third more time; otherwise it finds their matrix products and computes what is cheap.

    Raises: UserError, when called, if a text is longer than the model has positions.
    """
    products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    sparing = functools.partial(jax.checkpoint, policy=None if remat else products)

    def upwards(params: Params, inputs: TextInputs) -> list[Callable[..., Array]]:
        """The functions that take each state to the one above it, state 0 first."""
        check_length(inputs.valid.shape[1], config)
        embed = _function(Embeddings(config, dtype), params["embeddings"])
        blocks = [_function(Block(config, dtype), block) for block in params["blocks"]]
        bias = padding_bias(inputs.valid)
        return [
            functools.partial(embed, segments=inputs.segments),
            *(functools.partial(block, bias=bias) for block in blocks),
        ]

    def classify(params: Params, last: Float[Array, "B R D"]) -> Float[Array, "B C"]:
        return _function(Head(config, dtype), params["head"])(last)

    def states(params: Params, inputs: TextInputs) -> tuple[Float[Array, "B C"], States]:
        words = _function(word_embedding(config), params["word"])(inputs.tokens)
        found = [words.astype(dtype)]
        for step in upwards(params, inputs):
            found.append(step(found[-1]))
        return classify(params, found[-1]), tuple(found)

    def logits_from(
        params: Params, inputs: TextInputs, state: Float[Array, "B T D"], layer: Layer
    ) -> Float[Array, "B C"]:
        *most, last = upwards(params, inputs)
        state = state.astype(dtype)
        for below, step in enumerate(most):
            state = stepped(step, state, layer, below, None)
        # Nobody but the head reads the last state, and it reads no other positions.
        state = stepped(functools.partial(last, positions=READ), state, layer, len(most), READ)
        return classify(params, state)

    def stepped(
        step: Callable[[Array], Array],
        state: Array,
        layer: Layer,
        below: int,
        positions: int | None,
    ) -> Array:
        """One step up from state `below` if `layer` lies no higher, else its first positions."""
        if isinstance(layer, jax.Array):
            return jax.lax.cond(
                layer <= below, sparing(step), lambda same: same[:, :positions], state
            )
        return sparing(step)(state) if layer <= below else state[:, :positions]

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
