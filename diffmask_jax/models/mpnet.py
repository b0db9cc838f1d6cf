"""MPNet (Song et al. 2020): RoBERTa with relative position biases, `model_type: mpnet`."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from diffmask_jax.data.inputs import EncoderInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models import bert, roberta
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.attention import text_bias
from diffmask_jax.models.bert import IN_BLOCK, IN_EMBEDDINGS
from diffmask_jax.models.config import Dropout
from diffmask_jax.models.huggingface.description import Description
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import embedding
from diffmask_jax.models.roberta import IN_HEAD, RobertaConfig, after_pad
from diffmask_jax.models.transformer import Parts

# Hard-coded in transformers, whatever config.json says.
PAD, BUCKETS, FAR = 1, 32, 128

# Parameter of ours -> module of PyTorch.
RELATIVE = {"relative": "mpnet.encoder.relative_attention_bias"}
BIASED_BLOCK = IN_BLOCK | {
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "mix": "attention.attn.o",
    "mix_norm": "attention.LayerNorm",
}


def parts(config: RobertaConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """MPNet as linen modules: RoBERTa's, and a table of the biases that each head adds."""

    def context(params: Params, inputs: EncoderInputs) -> Float[Array, "B H T T"]:
        length = inputs.valid.shape[1]
        offsets = np.arange(1 - length, length)  # key minus query
        biases = params["relative"]["embedding"][buckets(offsets)]
        places = jnp.arange(length) - jnp.arange(length)[:, None] + length - 1
        return text_bias(inputs) + biases[places].transpose(2, 0, 1)

    return roberta.parts(config, dtype, dropout)._replace(
        context=context,
        shared={"relative": (embedding(BUCKETS, config.heads), (np.zeros(1, int),))},
    )


def buckets(offsets: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """T5's classes of distances: half of them per direction, exact up to 8, then logarithmic.

    Computed in NumPy's float32 while the program is traced: an accelerator's logarithm may round a
    distance into the neighbouring class.
    """
    half, exact = BUCKETS // 2, BUCKETS // 4
    distance = np.abs(offsets)
    share = np.log(np.maximum(distance, exact).astype(np.float32) / np.float32(exact))
    share = share / np.float32(np.log(FAR / exact)) * np.float32(half - exact)
    by_logarithm = np.minimum(exact + share.astype(int), half - 1)
    return np.where(distance < exact, distance, by_logarithm) + half * (offsets > 0)


def read_config(folder: Path, description: Description, classes: int) -> RobertaConfig:
    """The sizes in an MPNet's config.json. Raises: UserError if we cannot run it."""
    count = description.get("relative_attention_num_buckets", BUCKETS)
    if count != BUCKETS:
        raise UserError(
            f"relative_attention_num_buckets {count!r} is not supported, only {BUCKETS}"
        )
    as_bert = bert.read_config(folder, description | {"type_vocab_size": 1}, classes)
    dropout = as_bert.dropout._replace(classifier=as_bert.dropout.hidden)
    return after_pad(dataclasses.replace(as_bert, segments=0, dropout=dropout), PAD)


def describe(config: RobertaConfig) -> Description:
    """The inverse of `read_config`."""
    not_its_own = ("type_vocab_size", "classifier_dropout", "pad_token_id")
    return {
        **{k: value for k, value in roberta.describe(config).items() if k not in not_its_own},
        "relative_attention_num_buckets": BUCKETS,
    }


def name(config: RobertaConfig) -> Name:
    """blocks/0/query/kernel -> mpnet.encoder.layer.0.attention.attn.q.weight"""
    embeddings = {ours: f"mpnet.{theirs}" for ours, theirs in IN_EMBEDDINGS.items()}
    return namer(embeddings | RELATIVE | IN_HEAD, "mpnet.encoder.layer.{}.", BIASED_BLOCK)


MPNET = of_parts(
    parts,
    model_type="mpnet",
    class_name="MPNetForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="mpnet.",
    tokenizer="MPNetTokenizer",
)
