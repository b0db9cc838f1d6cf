"""BERT's attention weights, computed from its states: the forward pass itself keeps none."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import Params, States
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.models.bert_parts import padding_bias


def attention_weights(
    config: BertConfig, params: Params, inputs: TextInputs, states: States
) -> tuple[Float[Array, "B H T T"], ...]:
    """softmax(q·kᵀ/√K + bias) of every block, float32; rows are queries.

    Block n reads state n (the embedding layer's output for the first one) and writes state n + 1,
    so there is one entry a block and none for state 0.
    """
    bias = padding_bias(inputs.valid)

    def heads(block: Params, name: str, x: Float[Array, "B T D"]) -> Float[Array, "B H T K"]:
        y = x @ block[name]["kernel"] + block[name]["bias"]
        return y.reshape(*y.shape[:-1], config.heads, -1).swapaxes(1, 2).astype(jnp.float32)

    def weights(block: Params, x: Float[Array, "B T D"]) -> Float[Array, "B H T T"]:
        query, key = heads(block, "query", x), heads(block, "key", x)
        scores = jnp.einsum("bhqk,bhsk->bhqs", query, key) * query.shape[-1] ** -0.5
        return jax.nn.softmax(scores + bias, axis=-1)

    return tuple(map(weights, params["blocks"], states[1:-1]))
