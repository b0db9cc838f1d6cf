"""ModernBERT (Warner et al. 2024): `model_type: modernbert`."""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.config import ACTIVATIONS, NO_DROPOUT, Dropout
from diffmask_jax.models.huggingface.description import Description, Fields
from diffmask_jax.models.huggingface.lengths import longest_text
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import drop, embedding, linear, norm
from diffmask_jax.models.modernbert_block import Block, ModernBertConfig, context
from diffmask_jax.models.span_head import span_logits
from diffmask_jax.models.transformer import Parts

# Our name of a size -> its key in config.json.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "blocks": "num_hidden_layers",
    "intermediate": "intermediate_size",
}
LOCAL, GLOBAL = "sliding_attention", "full_attention"

# Parameter of ours -> module of PyTorch.
OUTSIDE_BLOCKS = {
    "word": "model.embeddings.tok_embeddings",
    "embeddings/norm": "model.embeddings.norm",
    "head/final_norm": "model.final_norm",
    "head/dense": "head.dense",
    "head/norm": "head.norm",
    "head/classifier": "classifier",
}
IN_BLOCK = {
    "mix_norm": "attn_norm",
    "qkv": "attn.Wqkv",
    "mix": "attn.Wo",
    "up_norm": "mlp_norm",
    "up": "mlp.Wi",
    "down": "mlp.Wo",
}


class Embeddings(nn.Module):
    """State 0 -> state 1: the normalised word embeddings."""

    config: ModernBertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, words: Float[Array, "B T D"], inputs: TextInputs) -> Float[Array, "B T D"]:
        config = self.config
        normed = norm(config.epsilon, self.dtype, "norm", config.norm_bias)(words)
        return drop(self.dropout.embedding)(normed)


class Head(nn.Module):
    """The last state -> logits, always float32.

    classifier(norm(activation(dense(h)))), where h is the normed state of the first token, or the
    mean of the normed states of all tokens.
    """

    config: ModernBertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, x: Float[Array, "B R D"], valid: Bool[Array, "B T"]) -> Float[Array, "B C"]:
        config, dtype = self.config, self.dtype
        x = norm(config.epsilon, dtype, "final_norm", config.norm_bias)(x)
        pooled = x[:, 0] if config.pooling == "cls" else x.mean(axis=1, where=valid[..., None])
        pooled = drop(self.dropout.classifier)(_transformed(config, dtype, pooled))
        return linear(config.classes, jnp.float32, "classifier")(pooled)


class SpanHead(nn.Module):
    """The last state -> start and end logits of every position, always float32.

    spans(norm(activation(dense(h)))), where h is a normed state.
    """

    config: ModernBertConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"]
    ) -> Float[Array, "B T 2"]:
        config, dtype = self.config, self.dtype
        x = norm(config.epsilon, dtype, "final_norm", config.norm_bias)(x)
        return span_logits(drop(self.dropout.classifier)(_transformed(config, dtype, x)), valid)


def _transformed(
    config: ModernBertConfig, dtype: DTypeLike, x: Float[Array, "*B D"]
) -> Float[Array, "*B D"]:
    """norm(activation(dense(h))); called within a compact linen module, whose layers these are."""
    x = linear(config.width, dtype, "dense", config.classifier_bias)(x)
    x = ACTIVATIONS[config.classifier_activation](x)
    return norm(config.epsilon, dtype, "norm", config.norm_bias)(x)


def parts(config: ModernBertConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """ModernBERT as linen modules."""
    return Parts(
        word=embedding(config.vocabulary, config.width),
        embeddings=Embeddings(config, dtype, dropout),
        blocks=tuple(Block(config, dtype, dropout, number) for number in range(config.blocks)),
        head=Head(config, dtype, dropout),
        reads=1 if config.pooling == "cls" else None,
        context=lambda params, inputs: context(config, inputs),
    )


def read_config(folder: Path, description: Description, classes: int) -> ModernBertConfig:
    """The sizes in a ModernBERT's config.json. Raises: UserError if we cannot run it."""
    fields = Fields(folder, description)
    own = fields.sizes(SIZES)
    own["positions"] = longest_text(folder, own["positions"])
    global_theta = _read_theta(fields, GLOBAL, "global_rope_theta", 160_000.0)
    # Of null, local attention has the global one, as in transformers before version 5.
    local_theta = 10_000.0 if description.get("local_rope_theta", 0) is not None else global_theta
    return ModernBertConfig(
        **own,
        segments=0,
        classes=classes,
        activation=fields.text("hidden_activation", "gelu"),
        epsilon=fields.number("norm_eps", 1e-5),
        dropout=Dropout(
            hidden=fields.number("mlp_dropout", 0.0),
            attention=fields.number("attention_dropout", 0.0),
            classifier=fields.number("classifier_dropout", 0.0),
            embedding=fields.number("embedding_dropout", 0.0),
        ),
        local=_read_local(fields, own["blocks"]),
        window=_read_window(fields),
        local_theta=_read_theta(fields, LOCAL, "local_rope_theta", local_theta),
        global_theta=global_theta,
        norm_bias=fields.flag("norm_bias", False),
        attention_bias=fields.flag("attention_bias", False),
        mlp_bias=fields.flag("mlp_bias", False),
        classifier_bias=fields.flag("classifier_bias", False),
        classifier_activation=fields.text("classifier_activation", "gelu"),
        pooling=fields.text("classifier_pooling", "cls"),
    )


def _read_local(fields: Fields, blocks: int) -> tuple[bool, ...]:
    """Whether each block is local, as new checkpoints write it, or as old ones do."""
    kinds = fields.description.get("layer_types")
    if kinds is None:
        every = fields.size("global_attn_every_n_layers", 3)
        return tuple(number % every > 0 for number in range(blocks))
    if not (
        isinstance(kinds, list)
        and len(kinds) == blocks
        and all(kind in (LOCAL, GLOBAL) for kind in kinds)
    ):
        raise UserError(
            f"{fields.place('layer_types')} must name {blocks} kinds of attention, each "
            f"{LOCAL} or {GLOBAL}"
        )
    return tuple(kind == LOCAL for kind in kinds)


def _read_window(fields: Fields) -> int:
    """The neighbours that local attention reaches; sliding_window, if given, is those on a side."""
    if fields.description.get("sliding_window") is None:
        return fields.size("local_attention", 128)
    return 2 * fields.size("sliding_window")


def _read_theta(fields: Fields, kind: str, old: str, default: float) -> float:
    """The base of the rotary wavelengths of one kind of attention; old: its former key."""
    rope = fields.inside("rope_parameters").inside(kind).description
    rope = rope | fields.inside("rope_scaling").description
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default":
        raise UserError(f"rope_type {scaling!r} is not supported, only 'default'")
    theta = rope.get("rope_theta", fields.description.get(old))
    return Fields(fields.folder, {old: theta}).number(old, default)


def describe(config: ModernBertConfig) -> Description:
    """The inverse of `read_config`."""
    thetas = {LOCAL: config.local_theta, GLOBAL: config.global_theta}
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "norm_bias": config.norm_bias,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "classifier_bias": config.classifier_bias,
        "hidden_activation": config.activation,
        "norm_eps": config.epsilon,
        "mlp_dropout": config.dropout.hidden,
        "attention_dropout": config.dropout.attention,
        "classifier_dropout": config.dropout.classifier,
        "embedding_dropout": config.dropout.embedding,
        "layer_types": [LOCAL if local else GLOBAL for local in config.local],
        "local_attention": config.window,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()
        },
        "classifier_activation": config.classifier_activation,
        "classifier_pooling": config.pooling,
    }


def name(config: ModernBertConfig) -> Name:
    """blocks/0/qkv/kernel -> model.layers.0.attn.Wqkv.weight"""
    return namer(OUTSIDE_BLOCKS, "model.layers.{}.", IN_BLOCK)


MODERNBERT = of_parts(
    parts,
    model_type="modernbert",
    class_name="ModernBertForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="model.",
    outside=("head.",),
    span_head=SpanHead,
    span_tensors="classifier",
    tokenizer="TokenizersBackend",
)
