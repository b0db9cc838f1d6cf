"""RoBERTa (Liu et al. 2019), and XLM-RoBERTa and CamemBERT, which share its layout."""

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffmask_jax.data.inputs import EncoderInputs, PackedInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models import bert
from diffmask_jax.models.architecture import Architecture, of_parts
from diffmask_jax.models.attention import text_bias
from diffmask_jax.models.bert import IN_BLOCK, IN_EMBEDDINGS, Pooled
from diffmask_jax.models.block import Block
from diffmask_jax.models.config import NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.huggingface.description import LARGEST, Description, Fields
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import drop, embedding, norm
from diffmask_jax.models.transformer import Parts

# Parameter of ours -> module of PyTorch.
IN_HEAD = {"head/pooler": "classifier.dense", "head/classifier": "classifier.out_proj"}


@dataclasses.dataclass(frozen=True)
class RobertaConfig(EncoderConfig):
    """A RoBERTa's sizes; pad: the padding token, after whose number the positions begin."""

    pad: int = 1


class Embeddings(nn.Module):
    """State 0 -> state 1: position and segment embeddings are added and the sum is normalised.

    The n-th token that is not `pad` has position pad + n, and every `pad` has position pad, even in
    the middle of a text.
    """

    config: RobertaConfig
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, words: Float[Array, "B T D"], inputs: EncoderInputs
    ) -> Float[Array, "B T D"]:
        config, x = self.config, words
        if config.segments:
            x = x + embedding(config.segments, config.width, "segment")(inputs.segments)
        counts = inputs.tokens != config.pad
        seen = jnp.cumsum(counts, axis=1)
        if isinstance(inputs, PackedInputs):  # counted from the start of its own text
            begins = jnp.arange(seen.shape[1]) - inputs.places
            seen -= jnp.take_along_axis(seen - counts, begins, axis=1)
        places = seen * counts + config.pad
        x = x + embedding(table_size(config), config.width, "position")(places)
        return drop(self.dropout.hidden)(norm(config.epsilon, self.dtype, "norm")(x))


def table_size(config: RobertaConfig) -> int:
    """Rows of the table of positions, of which texts never use the first pad + 1."""
    return config.positions + config.pad + 1


def parts(config: RobertaConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """RoBERTa as linen modules."""
    return Parts(
        word=embedding(config.vocabulary, config.width),
        embeddings=Embeddings(config, dtype, dropout),
        blocks=(Block(config, dtype, dropout),) * config.blocks,
        head=Pooled(config, dtype, dropout, twice=True),
        reads=1,
        context=lambda params, inputs: text_bias(inputs),
        packs=True,
    )


def read_config(folder: Path, description: Description, classes: int) -> RobertaConfig:
    """The sizes in a RoBERTa's config.json. Raises: UserError if we cannot run it."""
    pad = Fields(folder, description).whole_number("pad_token_id", 1, LARGEST["vocabulary"])
    return after_pad(bert.read_config(folder, description, classes), pad)


def after_pad(config: EncoderConfig, pad: int) -> RobertaConfig:
    """An encoder's sizes without the first `pad` + 1 rows of its table, which are no positions.

    Raises: UserError if there are no others.
    """
    positions = config.positions - pad - 1
    if positions < 1:
        raise UserError(
            f"max_position_embeddings {config.positions} leaves no position after the padding's, "
            f"{pad}"
        )
    return RobertaConfig(**vars(config) | {"positions": positions, "pad": pad})


def describe(config: RobertaConfig) -> Description:
    """The inverse of `read_config`."""
    sizes = {"max_position_embeddings": table_size(config), "pad_token_id": config.pad}
    return bert.describe(config) | sizes


def name(config: RobertaConfig) -> Name:
    """blocks/0/query/kernel -> roberta.encoder.layer.0.attention.self.query.weight"""
    embeddings = {ours: f"roberta.{theirs}" for ours, theirs in IN_EMBEDDINGS.items()}
    return namer(embeddings | IN_HEAD, "roberta.encoder.layer.{}.", IN_BLOCK)


def _architecture(model_type: str, name_in_pytorch: str) -> Architecture:
    return of_parts(
        parts,
        model_type=model_type,
        class_name=f"{name_in_pytorch}ForSequenceClassification",
        read_config=read_config,
        describe=describe,
        name=name,
        base="roberta.",
        tokenizer=f"{name_in_pytorch}Tokenizer",
    )


ROBERTA = _architecture("roberta", "Roberta")
XLM_ROBERTA = _architecture("xlm-roberta", "XLMRoberta")
CAMEMBERT = _architecture("camembert", "Camembert")
