"""What PyTorch calls the parameters of a BERT: its tensors as parameters of ours, and back."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models.bert import init
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.models.bert_parts import Head
from diffmask_jax.models.huggingface.weights import Weights, to_params, to_weights

# Parameter of ours -> module of PyTorch.
_IN_MODEL = {
    "word": "bert.embeddings.word_embeddings",
    "embeddings/position": "bert.embeddings.position_embeddings",
    "embeddings/segment": "bert.embeddings.token_type_embeddings",
    "embeddings/norm": "bert.embeddings.LayerNorm",
    "head/pooler": "bert.pooler.dense",
    "head/classifier": "classifier",
}
_IN_BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def bert_params(weights: Weights, config: BertConfig) -> Params:
    """Float32 parameters for `bert_classifier`; tensors it has no use for are ignored.

    Raises: UserError naming the tensor that is missing, of the wrong shape or not of floats, or
        if there is no classification head.
    """
    if "classifier.weight" not in weights:
        raise UserError(
            "the checkpoint has no classification head (no tensor classifier.weight): "
            "fine-tune it on a classification task first"
        )
    expected = jax.eval_shape(lambda: init(jax.random.key(0), config))
    return to_params(weights, expected, pytorch_name)


def word_params(weights: Weights, vocabulary: int, width: int) -> Params:
    """The word embeddings alone, "word" of `init`, from a checkpoint of any BERT.

    Raises: UserError if the tensor is missing, of the wrong shape or not of floats.
    """
    token = jnp.zeros((1, 1), jnp.int32)
    table = jax.eval_shape(nn.Embed(vocabulary, width).init, jax.random.key(0), token)["params"]
    return to_params(encoder(weights), {"word": table}, pytorch_name)["word"]


def with_fresh_head(weights: Weights, config: BertConfig, key: Key[Array, ""]) -> Weights:
    """The encoder in a checkpoint of any BERT, under a new head: normal(0, 0.02), biases 0.

    A pooler that the checkpoint has stays.
    """
    state = jnp.zeros((1, 1, config.width))
    head = Head(config, jnp.float32).init(key, state)["params"]
    return to_weights({"head": head}, pytorch_name) | encoder(weights)


def encoder(weights: Weights) -> Weights:
    """The BERT in a checkpoint of any kind; a bare BertModel's names become a classifier's."""
    if not any(name.startswith("bert.") for name in weights):
        return {f"bert.{name}": tensor for name, tensor in weights.items()}
    return {name: tensor for name, tensor in weights.items() if name.startswith("bert.")}


def pytorch_name(path: str) -> str:
    """blocks/0/query/kernel -> bert.encoder.layer.0.attention.self.query.weight"""
    match path.split("/"):
        case ["blocks", number, part, leaf]:
            place = f"bert.encoder.layer.{number}.{_IN_BLOCK[part]}"
        case [*module, leaf]:
            place = _IN_MODEL["/".join(module)]
    return f"{place}.bias" if leaf == "bias" else f"{place}.weight"
