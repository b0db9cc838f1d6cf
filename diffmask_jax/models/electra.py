"""ELECTRA (Clark et al. 2020): BERT over narrower word embeddings, `model_type: electra`."""

import dataclasses
from pathlib import Path

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffmask_jax.data.inputs import EncoderInputs
from diffmask_jax.models import bert
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.attention import text_bias
from diffmask_jax.models.bert import IN_BLOCK, IN_EMBEDDINGS, Embeddings, Pooled
from diffmask_jax.models.block import Block
from diffmask_jax.models.config import ACTIVATIONS, NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.huggingface.description import Description, Fields
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import embedding, linear
from diffmask_jax.models.roberta import IN_HEAD
from diffmask_jax.models.transformer import Parts


class Projected(nn.Module):
    """State 0 -> state 1: BERT's embeddings, projected to the width of the blocks."""

    config: EncoderConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, words: Float[Array, "B T E"], inputs: EncoderInputs
    ) -> Float[Array, "B T D"]:
        summed = Embeddings(self.config, self.dtype, self.dropout, name="narrow")(words, inputs)
        return linear(self.config.width, self.dtype, "project")(summed)


def parts(config: EncoderConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """ELECTRA as linen modules."""
    embeddings = Embeddings if config.word_width == config.width else Projected
    return Parts(
        word=embedding(config.vocabulary, config.word_width),
        embeddings=embeddings(config, dtype, dropout),
        blocks=(Block(config, dtype, dropout),) * config.blocks,
        head=Pooled(config, dtype, dropout, activation=ACTIVATIONS["gelu"], twice=True),
        reads=1,
        context=lambda params, inputs: text_bias(inputs),
        packs=True,
    )


def read_config(folder: Path, description: Description, classes: int) -> EncoderConfig:
    """The sizes in an ELECTRA's config.json. Raises: UserError if we cannot run it."""
    width = Fields(folder, description).size("embedding_size", 128)
    return dataclasses.replace(bert.read_config(folder, description, classes), embedding=width)


def describe(config: EncoderConfig) -> Description:
    """The inverse of `read_config`."""
    return bert.describe(config) | {"embedding_size": config.word_width}


def name(config: EncoderConfig) -> Name:
    """blocks/0/query/kernel -> electra.encoder.layer.0.attention.self.query.weight"""
    embeddings = {ours: f"electra.{theirs}" for ours, theirs in IN_EMBEDDINGS.items()}
    project = {"embeddings/project": "electra.embeddings_project"}
    modules = embeddings | narrow(embeddings) | project | IN_HEAD
    return namer(modules, "electra.encoder.layer.{}.", IN_BLOCK)


def narrow(modules: dict[str, str]) -> dict[str, str]:
    """The table of modules of `Projected`, made from that of `Embeddings`."""
    return {ours.replace("embeddings/", "embeddings/narrow/"): to for ours, to in modules.items()}


ELECTRA = of_parts(
    parts,
    model_type="electra",
    class_name="ElectraForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="electra.",
    tokenizer="ElectraTokenizer",
)
