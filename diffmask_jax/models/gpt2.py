"""GPT-2 (Radford et al. 2019), a decoder: `model_type: gpt2`."""

import dataclasses
import functools
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.attention import attend, closed, merge_heads, padding_bias, split_heads
from diffmask_jax.models.config import ACTIVATIONS, NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.huggingface.description import LARGEST, Description, Fields
from diffmask_jax.models.huggingface.weights import Name, namer
from diffmask_jax.models.layers import NORMAL, drop, embedding, linear, norm
from diffmask_jax.models.span_head import span_logits
from diffmask_jax.models.transformer import Parts

# Our name of a size -> its key in config.json.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "n_positions",
    "width": "n_embd",
    "heads": "n_head",
    "blocks": "n_layer",
    "intermediate": "n_inner",
}
# Names of some keys that transformers accepts too -> GPT-2's own.
ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}

# Parameter of ours -> module of PyTorch.
OUTSIDE_BLOCKS = {
    "word": "transformer.wte",
    "embeddings/position": "transformer.wpe",
    "head/norm": "transformer.ln_f",
    "head/score": "score",
}
IN_BLOCK = {
    "mix_norm": "ln_1",
    "qkv": "attn.c_attn",
    "mix": "attn.c_proj",
    "up_norm": "ln_2",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}


@dataclasses.dataclass(frozen=True)
class GPT2Config(EncoderConfig):
    """The sizes of a GPT-2.

    Attributes:
        scaled: whether scores are divided by √K, for heads of width K.
        scaled_by_block: whether the scores of block n are also divided by n + 1.
        pad: the pad token, which does not count as a text's last one; None if there is none.
    """

    scaled: bool = True
    scaled_by_block: bool = False
    pad: int | None = None


class Embeddings(nn.Module):
    """State 0 -> state 1: the position embeddings are added."""

    config: GPT2Config
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(self, words: Float[Array, "B T D"], inputs: TextInputs) -> Float[Array, "B T D"]:
        places = jnp.arange(words.shape[1])
        position = embedding(self.config.positions, self.config.width, "position")(places)
        return drop(self.dropout.embedding)((words + position).astype(self.dtype))


class Affine(nn.Module):
    """x·W + b. PyTorch's GPT-2, too, keeps W as (in, out): hence `weight`, not `kernel`."""

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T E"]:
        weight = self.param("weight", NORMAL, (x.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        x, weight, bias = nn.dtypes.promote_dtype(x, weight, bias, dtype=self.dtype)
        return x @ weight + bias


class Block(nn.Module):
    """One state -> the next: attention, then a feed-forward layer, each of a normed input."""

    config: GPT2Config
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT
    number: int = 0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        context: Float[Array, "B 1 T T"],
        positions: int | None = None,
    ) -> Float[Array, "B R D"]:
        """context: the bias that closes padding and later positions.

        positions: compute only this many, the first ones; None: all.
        """
        config, dtype = self.config, self.dtype
        scale = (config.width // config.heads) ** -0.5 if config.scaled else 1.0
        scale /= self.number + 1 if config.scaled_by_block else 1

        reading = norm(config.epsilon, dtype, "mix_norm")(x)
        qkv = Affine(3 * config.width, dtype, name="qkv")(reading)
        query, key, value = (split_heads(part, config.heads) for part in jnp.split(qkv, 3, axis=-1))
        query, bias = query[:, :, :positions], context[:, :, :positions]
        mixed = attend(self, query, key, value, bias, drop(self.dropout.attention), scale)
        mixed = Affine(config.width, dtype, name="mix")(merge_heads(mixed))
        x = x[:, :positions] + drop(self.dropout.hidden)(mixed)

        reading = norm(config.epsilon, dtype, "up_norm")(x)
        hidden = Affine(config.intermediate, dtype, name="up")(reading)
        hidden = Affine(config.width, dtype, name="down")(ACTIVATIONS[config.activation](hidden))
        return x + drop(self.dropout.hidden)(hidden)


class Head(nn.Module):
    """The last state of the last token that counts -> logits, always float32: score(norm(h)).

    As in transformers, the pad token does not count, not even in a text that ends with it.
    """

    config: GPT2Config
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], counting: Bool[Array, "B T"]
    ) -> Float[Array, "B C"]:
        last = jnp.max(jnp.where(counting, jnp.arange(x.shape[1]), 0), axis=1)
        x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        x = norm(self.config.epsilon, self.dtype, "norm")(x)
        return linear(self.config.classes, jnp.float32, "score", use_bias=False)(x)


class SpanHead(nn.Module):
    """The last state -> start and end logits of every position, always float32: spans(norm(h))."""

    config: GPT2Config
    dtype: DTypeLike
    dropout: Dropout = NO_DROPOUT

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"]
    ) -> Float[Array, "B T 2"]:
        return span_logits(norm(self.config.epsilon, self.dtype, "norm")(x), valid)


def context(inputs: TextInputs) -> Float[Array, "B 1 T T"]:
    """The bias that keeps queries from attending to padding and to later positions."""
    places = jnp.arange(inputs.valid.shape[1])
    return padding_bias(inputs.valid) + closed(places <= places[:, None])


def parts(config: GPT2Config, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """GPT-2 as linen modules."""
    return Parts(
        word=embedding(config.vocabulary, config.width),
        embeddings=Embeddings(config, dtype, dropout),
        blocks=tuple(Block(config, dtype, dropout, number) for number in range(config.blocks)),
        head=Head(config, dtype),
        reads=None,
        context=lambda params, inputs: context(inputs),
        counting=functools.partial(but_pad, config.pad),
    )


def but_pad(pad: int | None, inputs: TextInputs) -> Bool[Array, "B T"]:
    """The positions that are neither padding nor the pad token."""
    valid = jnp.asarray(inputs.valid)
    return valid if pad is None else valid & (jnp.asarray(inputs.tokens) != pad)


def read_config(folder: Path, description: Description, classes: int) -> GPT2Config:
    """The sizes in a GPT-2's config.json. Raises: UserError if it is of a kind we cannot run."""
    if description.get("add_cross_attention"):
        raise UserError("a GPT-2 with cross-attention (add_cross_attention) is not supported")
    named = {ALIASES.get(key, key): value for key, value in description.items()}
    if named.get("n_inner") is None:
        named["n_inner"] = 4 * Fields(folder, named).size("n_embd")
    fields = Fields(folder, named)
    has_pad = description.get("pad_token_id") not in (None, -1)
    return GPT2Config(
        **fields.sizes(SIZES),
        segments=0,
        classes=classes,
        activation=fields.text("activation_function", "gelu_new"),
        epsilon=fields.number("layer_norm_epsilon", 1e-5),
        dropout=Dropout(
            hidden=fields.number("resid_pdrop", 0.1),
            attention=fields.number("attn_pdrop", 0.1),
            classifier=0.0,
            embedding=fields.number("embd_pdrop", 0.1),
        ),
        scaled=fields.flag("scale_attn_weights", True),
        scaled_by_block=fields.flag("scale_attn_by_inverse_layer_idx", False),
        pad=fields.whole_number("pad_token_id", None, LARGEST["vocabulary"]) if has_pad else None,
    )


def describe(config: GPT2Config) -> Description:
    """The inverse of `read_config`."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "activation_function": config.activation,
        "layer_norm_epsilon": config.epsilon,
        "resid_pdrop": config.dropout.hidden,
        "attn_pdrop": config.dropout.attention,
        "embd_pdrop": config.dropout.embedding,
        "scale_attn_weights": config.scaled,
        "scale_attn_by_inverse_layer_idx": config.scaled_by_block,
        **({} if config.pad is None else {"pad_token_id": config.pad}),
    }


def name(config: GPT2Config) -> Name:
    """blocks/0/qkv/weight -> transformer.h.0.attn.c_attn.weight"""
    return namer(OUTSIDE_BLOCKS, "transformer.h.{}.", IN_BLOCK)


GPT2 = of_parts(
    parts,
    model_type="gpt2",
    class_name="GPT2ForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="transformer.",
    span_head=SpanHead,
    tokenizer="GPT2Tokenizer",
    words_for_segments=True,
)
