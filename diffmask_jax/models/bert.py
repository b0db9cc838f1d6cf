"""BERT (Devlin et al. 2019): `model_type: bert`."""

from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffmask_jax.data.inputs import EncoderInputs, PackedInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.attention import text_bias
from diffmask_jax.models.block import Block
from diffmask_jax.models.config import NO_DROPOUT, USUAL_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.huggingface.description import Description, Fields
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import drop, embedding, linear, norm
from diffmask_jax.models.transformer import Parts

# Our name of a size -> its key in config.json.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "blocks": "num_hidden_layers",
    "intermediate": "intermediate_size",
}

# Parameter of ours -> module of PyTorch.
IN_EMBEDDINGS = {
    "word": "embeddings.word_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/segment": "embeddings.token_type_embeddings",
    "embeddings/norm": "embeddings.LayerNorm",
}
IN_BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


class Embeddings(nn.Module):
    """State 0 -> state 1: position and segment embeddings are added and the sum is normalised.

    There are no segments if `config.segments` is 0. The width is that of the word embeddings.
    """

    config: EncoderConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, words: Float[Array, "B T D"], inputs: EncoderInputs
    ) -> Float[Array, "B T D"]:
        config, x = self.config, words
        places = inputs.places if isinstance(inputs, PackedInputs) else jnp.arange(words.shape[1])
        if config.segments:
            x = x + embedding(config.segments, config.word_width, "segment")(inputs.segments)
        x = x + embedding(config.positions, config.word_width, "position")(places)
        return drop(self.dropout.hidden)(norm(config.epsilon, self.dtype, "norm")(x))


class Pooled(nn.Module):
    """The last state of the first token, [CLS] -> logits, always float32; no other is read.

    classifier(activation(pooler(h))): the head of BERT and of the encoders derived from it.

    twice: whether training also drops values of h, not only of the classifier's input.
    """

    config: EncoderConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT
    activation: Callable[[Array], Array] = jnp.tanh
    twice: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B R D"], valid: Bool[Array, "B T"]) -> Float[Array, "B C"]:
        first = drop(self.dropout.classifier)(x[:, 0]) if self.twice else x[:, 0]
        pooled = self.activation(linear(self.config.width, self.dtype, "pooler")(first))
        pooled = drop(self.dropout.classifier)(pooled)
        return linear(self.config.classes, jnp.float32, "classifier")(pooled)


def parts(config: EncoderConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """BERT as linen modules."""
    return Parts(
        word=embedding(config.vocabulary, config.width),
        embeddings=Embeddings(config, dtype, dropout),
        blocks=(Block(config, dtype, dropout),) * config.blocks,
        head=Pooled(config, dtype, dropout),
        reads=1,
        context=lambda params, inputs: text_bias(inputs),
        packs=True,
    )


def read_config(folder: Path, description: Description, classes: int) -> EncoderConfig:
    """The sizes in a BERT's config.json. Raises: UserError if it is of a kind we cannot run."""
    check_kind(description)
    fields = Fields(folder, description)
    return EncoderConfig(
        **fields.sizes(SIZES),
        classes=classes,
        activation=fields.text("hidden_act", "gelu"),
        epsilon=fields.number("layer_norm_eps", 1e-12),
        dropout=read_dropout(fields),
    )


def check_kind(description: Description) -> None:
    """Raises: UserError if it is a decoder, is pruned, or has relative positions."""
    position = description.get("position_embedding_type") or "absolute"
    if position != "absolute":
        raise UserError(f"position_embedding_type {position!r} is not supported, only 'absolute'")
    if description.get("is_decoder"):
        raise UserError("a decoder (is_decoder in config.json) is not supported, only an encoder")
    if description.get("pruned_heads"):
        raise UserError("pruned heads (pruned_heads in config.json) are not supported")


def read_dropout(fields: Fields) -> Dropout:
    """The dropout rates, by BERT's names for them. Raises: UserError if one is not a number."""
    hidden = fields.number("hidden_dropout_prob", USUAL_DROPOUT.hidden)
    attention = fields.number("attention_probs_dropout_prob", USUAL_DROPOUT.attention)
    return Dropout(hidden, attention, fields.number("classifier_dropout", hidden))


def describe(config: EncoderConfig) -> Description:
    """The inverse of `read_config`."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "hidden_dropout_prob": config.dropout.hidden,
        "attention_probs_dropout_prob": config.dropout.attention,
        "classifier_dropout": config.dropout.classifier,
    }


def name(config: EncoderConfig) -> Name:
    """blocks/0/query/kernel -> bert.encoder.layer.0.attention.self.query.weight"""
    outside = {"head/pooler": "bert.pooler.dense", "head/classifier": "classifier"}
    embeddings = {ours: f"bert.{theirs}" for ours, theirs in IN_EMBEDDINGS.items()}
    return namer(embeddings | outside, "bert.encoder.layer.{}.", IN_BLOCK)


BERT = of_parts(
    parts,
    model_type="bert",
    class_name="BertForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="bert.",
)
