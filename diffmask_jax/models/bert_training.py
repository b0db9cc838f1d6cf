"""BERT as it is trained: its pass with values dropped at random."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import Params
from diffmask_jax.models.bert import check_length
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.models.bert_parts import Block, Embeddings, Head, padding_bias, word_embedding
from diffmask_jax.models.classifier_training import TrainingLogits


def training_logits(config: BertConfig) -> TrainingLogits:
    """(params, inputs, key) -> logits, with the dropout of `config` drawn from the key.

    Values are dropped where Hugging Face's BertForSequenceClassification drops them: behind the
    embeddings' norm, from the attention probabilities, from what attention and the feed-forward
    layer add to a state, and from the pooled output. At rates of 0 these are the classifier's own
    logits.

    Raises: UserError, when called, if a text is longer than the model has positions.
    """
    modules = {
        "embeddings": Embeddings(config, jnp.float32, config.dropout),
        "block": Block(config, jnp.float32, config.dropout),
        "head": Head(config, jnp.float32, config.dropout),
    }

    def logits(params: Params, inputs: TextInputs, key: Key[Array, ""]) -> Float[Array, "B C"]:
        check_length(inputs.valid.shape[1], config)
        keys = iter(jax.random.split(key, 2 + config.blocks))

        def apply(name: str, own: Params, *arguments: Any) -> Any:
            return modules[name].apply({"params": own}, *arguments, rngs={"dropout": next(keys)})

        bias = padding_bias(inputs.valid)
        words = word_embedding(config).apply({"params": params["word"]}, inputs.tokens)
        state = apply("embeddings", params["embeddings"], words, inputs.segments)
        for block in params["blocks"]:
            state = apply("block", block, state, bias)
        return apply("head", params["head"], state)

    return logits
