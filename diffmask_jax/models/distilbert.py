"""DistilBERT (Sanh et al. 2019): BERT without segments, `model_type: distilbert`."""

from pathlib import Path

import flax.linen as nn
from jax.typing import DTypeLike

from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.attention import text_bias
from diffmask_jax.models.bert import IN_EMBEDDINGS, Embeddings, Pooled
from diffmask_jax.models.block import Block
from diffmask_jax.models.config import Dropout, EncoderConfig
from diffmask_jax.models.huggingface.description import Description, Fields
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import embedding
from diffmask_jax.models.transformer import Parts

# Our name of a size -> its key in config.json.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "width": "dim",
    "heads": "n_heads",
    "blocks": "n_layers",
    "intermediate": "hidden_dim",
}
# BERT's names of some keys, which transformers accepts too -> DistilBERT's own.
ALIASES = {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}

# Parameter of ours -> module of PyTorch.
IN_HEAD = {"head/pooler": "pre_classifier", "head/classifier": "classifier"}
DISTILLED_BLOCK = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "mix": "attention.out_lin",
    "mix_norm": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "down_norm": "output_layer_norm",
}


def parts(config: EncoderConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """DistilBERT as linen modules."""
    return Parts(
        word=embedding(config.vocabulary, config.width),
        embeddings=Embeddings(config, dtype, dropout),
        blocks=(Block(config, dtype, dropout, dropped=("down",)),) * config.blocks,
        head=Pooled(config, dtype, dropout, activation=nn.relu),
        reads=1,
        context=lambda params, inputs: text_bias(inputs),
        packs=True,
    )


def read_config(folder: Path, description: Description, classes: int) -> EncoderConfig:
    """The sizes in a DistilBERT's config.json. Raises: UserError if one is missing.

    `sinusoidal_pos_embds` is ignored: it says only how the table of positions was initialised
    before training, and every checkpoint contains that table.
    """
    named = {ALIASES.get(key, key): value for key, value in description.items()}
    fields = Fields(folder, named)
    return EncoderConfig(
        **fields.sizes(SIZES),
        segments=0,
        classes=classes,
        activation=fields.text("activation", "gelu"),
        epsilon=1e-12,  # not in config.json, but hard-coded in transformers
        dropout=Dropout(
            fields.number("dropout", 0.1),
            fields.number("attention_dropout", 0.1),
            fields.number("seq_classif_dropout", 0.2),
            spans=fields.number("qa_dropout", 0.1),
        ),
    )


def describe(config: EncoderConfig) -> Description:
    """The inverse of `read_config`."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "activation": config.activation,
        "dropout": config.dropout.hidden,
        "attention_dropout": config.dropout.attention,
        "seq_classif_dropout": config.dropout.classifier,
        "qa_dropout": config.dropout.spans,
    }


def name(config: EncoderConfig) -> Name:
    """blocks/0/query/kernel -> distilbert.transformer.layer.0.attention.q_lin.weight"""
    embeddings = {ours: f"distilbert.{theirs}" for ours, theirs in IN_EMBEDDINGS.items()}
    return namer(embeddings | IN_HEAD, "distilbert.transformer.layer.{}.", DISTILLED_BLOCK)


DISTILBERT = of_parts(
    parts,
    model_type="distilbert",
    class_name="DistilBertForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="distilbert.",
    tokenizer="DistilBertTokenizer",
)
