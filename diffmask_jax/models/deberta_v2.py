"""DeBERTa, versions 2 and 3 (He et al. 2021): `model_type: deberta-v2`."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.config import ACTIVATIONS, NO_DROPOUT, USUAL_DROPOUT, Dropout
from diffmask_jax.models.deberta_v2_block import (
    Block,
    Context,
    DebertaV2Config,
    Distances,
    table_rows,
)
from diffmask_jax.models.huggingface.description import Description, Fields
from diffmask_jax.models.huggingface.lengths import longest_text
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import drop, embedding, linear, norm
from diffmask_jax.models.transformer import Parts
from diffmask_jax.runtime.json_files import shown

# Our name of a size -> its key in config.json.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "blocks": "num_hidden_layers",
    "intermediate": "intermediate_size",
}
# The same for sizes that may be missing, null or negative, which all mean 0.
COUNTS = {
    "segments": "type_vocab_size",
    "buckets": "position_buckets",
    "convolution": "conv_kernel_size",
}

# Parameter of ours -> module of PyTorch.
OUTSIDE_BLOCKS = {
    "word": "deberta.embeddings.word_embeddings",
    "embeddings/position": "deberta.embeddings.position_embeddings",
    "embeddings/segment": "deberta.embeddings.token_type_embeddings",
    "embeddings/widen": "deberta.embeddings.embed_proj",
    "embeddings/norm": "deberta.embeddings.LayerNorm",
    "distances/table": "deberta.encoder.rel_embeddings",
    "distances/norm": "deberta.encoder.LayerNorm",
    "conv": "deberta.encoder.conv.conv",
    "conv_norm": "deberta.encoder.conv.LayerNorm",
    "head/pooler": "pooler.dense",
    "head/classifier": "classifier",
}
IN_BLOCK = {
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
    "far_query": "attention.self.pos_query_proj",
    "far_key": "attention.self.pos_key_proj",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


class Embeddings(nn.Module):
    """State 0 -> state 1: positions and segments added, widened, normalised, 0 at padding."""

    config: DebertaV2Config
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, words: Float[Array, "B T E"], inputs: TextInputs) -> Float[Array, "B T D"]:
        config, x = self.config, words
        if config.position_biased:
            places = jnp.arange(words.shape[1])
            x = x + embedding(config.positions, config.word_width, "position")(places)
        if config.segments:
            x = x + embedding(config.segments, config.word_width, "segment")(inputs.segments)
        if config.word_width != config.width:
            x = linear(config.width, self.dtype, "widen", use_bias=False)(x)
        normed = norm(config.epsilon, self.dtype, "norm")(x)
        return drop(self.dropout.hidden)(jnp.where(inputs.valid[..., None], normed, 0))


class Pooled(nn.Module):
    """The last state of the first token, [CLS] -> logits, always float32; no other is read.

    classifier(activation(pooler(h)))
    """

    config: DebertaV2Config
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, x: Float[Array, "B R D"], valid: Bool[Array, "B T"]) -> Float[Array, "B C"]:
        first = drop(self.dropout.pooler)(x[:, 0])
        pooled = linear(self.config.width, self.dtype, "pooler")(first)
        pooled = ACTIVATIONS[self.config.pooler_activation](pooled)
        pooled = drop(self.dropout.classifier)(pooled)
        return linear(self.config.classes, jnp.float32, "classifier")(pooled)


def parts(config: DebertaV2Config, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """DeBERTa as linen modules."""
    distances = Distances(config, dtype)

    def context(params: Params, inputs: TextInputs) -> Context:
        if not config.disentangled:
            return Context(inputs.valid, jnp.zeros((0, config.width)), np.arange(0))
        rows, places = np.unique(table_rows(config, inputs.valid.shape[1]), return_inverse=True)
        embedded: Any = distances.apply({"params": params["distances"]}, rows)
        return Context(inputs.valid, embedded, places)

    return Parts(
        word=embedding(config.vocabulary, config.word_width),
        embeddings=Embeddings(config, dtype, dropout),
        blocks=tuple(Block(config, dtype, dropout, number) for number in range(config.blocks)),
        head=Pooled(config, dtype, dropout),
        reads=1,
        context=context,
        shared={"distances": (distances, (np.arange(1),))} if config.relative else {},
    )


def read_config(folder: Path, description: Description, classes: int) -> DebertaV2Config:
    """The sizes in a DeBERTa's config.json. Raises: UserError if it is of a kind we cannot run."""
    fields = Fields(folder, description)
    own = fields.sizes(SIZES)
    farthest = _count(fields, "max_relative_positions") or own["positions"]
    if not (is_biased := fields.flag("position_biased_input", True)):
        own["positions"] = longest_text(folder, own["positions"])
    width, head_width = own["width"], own["width"] // own["heads"]
    for key, needed in (("attention_head_size", head_width), ("pooler_hidden_size", width)):
        if description.get(key) not in (None, needed):
            raise UserError(f"{key} {description[key]!r} is not supported, only {needed}")
    return DebertaV2Config(
        **own,
        **{ours: _count(fields, theirs) for ours, theirs in COUNTS.items()},
        classes=classes,
        activation=fields.text("hidden_act", "gelu"),
        epsilon=fields.number("layer_norm_eps", 1e-7),
        dropout=read_dropout(fields),
        embedding=fields.size("embedding_size", width),
        position_biased=is_biased,
        relative=fields.flag("relative_attention", False),
        scores=tuple(kind for kind in ("c2p", "p2c") if kind in _words(fields, "pos_att_type")),
        farthest=farthest,
        shared=fields.flag("share_att_key", False),
        normed="layer_norm" in _words(fields, "norm_rel_ebd"),
        convolution_groups=fields.size("conv_groups", 1),
        convolution_activation=fields.text("conv_act", "tanh"),
        pooler_activation=fields.text("pooler_hidden_act", "gelu"),
    )


def _words(fields: Fields, key: str) -> list[str]:
    """A list, which DeBERTa may write as "p2c|c2p". Raises: UserError if it is neither."""
    value = fields.description.get(key) or []
    words = value.split("|") if isinstance(value, str) else value
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise UserError(f"{fields.place(key)} must be words, not {shown(value)}")
    return [word.strip().lower() for word in words]


def _count(fields: Fields, key: str) -> int:
    """A whole number, 0 if missing, null or negative. Raises: UserError if it is not a number."""
    value = fields.description.get(key)
    if value is None or (type(value) is int and value < 0):
        return 0
    return fields.whole_number(key, 0, 2**20)


def read_dropout(fields: Fields) -> Dropout:
    """The dropout rates in config.json. Raises: UserError if they are not numbers."""
    hidden = fields.number("hidden_dropout_prob", USUAL_DROPOUT.hidden)
    return Dropout(
        hidden=hidden,
        attention=fields.number("attention_probs_dropout_prob", USUAL_DROPOUT.attention),
        classifier=fields.number("cls_dropout", hidden),
        pooler=fields.number("pooler_dropout", 0.0),
    )


def describe(config: DebertaV2Config) -> Description:
    """The inverse of `read_config`."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in (SIZES | COUNTS).items()},
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "hidden_dropout_prob": config.dropout.hidden,
        "attention_probs_dropout_prob": config.dropout.attention,
        "cls_dropout": config.dropout.classifier,
        "pooler_dropout": config.dropout.pooler,
        "embedding_size": config.word_width,
        "position_biased_input": config.position_biased,
        "relative_attention": config.relative,
        "pos_att_type": list(config.scores),
        "max_relative_positions": config.farthest,
        "share_att_key": config.shared,
        "norm_rel_ebd": "layer_norm" if config.normed else "none",
        "conv_groups": config.convolution_groups,
        "conv_act": config.convolution_activation,
        "pooler_hidden_act": config.pooler_activation,
        "pooler_hidden_size": config.width,
    }


def name(config: DebertaV2Config) -> Name:
    """blocks/0/query/kernel -> deberta.encoder.layer.0.attention.self.query_proj.weight"""
    usual = namer(OUTSIDE_BLOCKS, "deberta.encoder.layer.{}.", IN_BLOCK)
    # PyTorch keeps the convolution beside the blocks, though it belongs to the first.
    return lambda place: usual(place.replace("blocks/0/conv", "conv"))


DEBERTA_V2 = of_parts(
    parts,
    model_type="deberta-v2",
    class_name="DebertaV2ForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="deberta.",
    tokenizer="DebertaV2Tokenizer",
)
