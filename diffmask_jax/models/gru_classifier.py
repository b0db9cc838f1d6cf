"""The paper's recurrent classifier of SST: frozen BERT word embeddings, a GRU, a linear layer.

It has one state, the embedded word pieces. The GRU is as wide as they are, and the linear layer
reads its last recurrent state. `model_type: diffmask_gru`; its tensors are named and laid out like
those of torch's Embedding, GRU and Linear.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import Family
from diffmask_jax.game.model import Layer, Model, Params, States
from diffmask_jax.models.architecture import Architecture, Classifier
from diffmask_jax.models.config import check_rates
from diffmask_jax.models.gru import GRU
from diffmask_jax.models.huggingface.description import (
    Description,
    Fields,
    check_class_names,
)
from diffmask_jax.models.huggingface.weights import Name
from diffmask_jax.models.initializers import dense
from diffmask_jax.models.layers import drop
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.models.transformer import TrainingLogits

# Our name of a size -> its key in config.json, both in a GRU's and in an encoder's.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "width": "hidden_size",
}
# Parameter of ours -> tensor of torch's Embedding, GRU and Linear.
NAMES = {
    "word/embedding": "word.weight",
    "gru/input_kernel": "gru.weight_ih_l0",
    "gru/hidden_kernel": "gru.weight_hh_l0",
    "gru/input_bias": "gru.bias_ih_l0",
    "gru/hidden_bias": "gru.bias_hh_l0",
    "head/kernel": "head.weight",
    "head/bias": "head.bias",
}


class GruDropout(NamedTuple):
    """The dropout rates of training: of the GRU's inputs, and of its last state."""

    input: float
    output: float


USUAL_DROPOUT = GruDropout(0.3, 0.3)


@dataclasses.dataclass(frozen=True)
class GruConfig:
    """The sizes of a GRU classifier, and the dropout to train it with.

    Attributes:
        positions: the largest number of word pieces of a text, that of the BERT from which the
            embeddings come.

    Raises: UserError if a dropout rate lies outside [0, 1).
    """

    vocabulary: int
    positions: int
    width: int
    classes: int
    dropout: GruDropout = USUAL_DROPOUT
    segments: int = 0  # they have no influence

    def __post_init__(self) -> None:
        check_rates(self.dropout)


def init(key: Key[Array, ""], config: GruConfig) -> Params:
    """{"word": zeros, "gru", "head": float32 parameters as PyTorch draws them}."""
    gru_key, head_key = jax.random.split(key)
    state = jnp.zeros((1, 1, config.width))
    return {
        "word": {"embedding": jnp.zeros((config.vocabulary, config.width))},
        "gru": GRU(config.width).init(gru_key, state, jnp.ones((1, 1), bool))["params"],
        "head": _head(config).init(head_key, state[:, 0])["params"],
    }


def gru_classifier(
    config: GruConfig, family: Family, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Model:
    """The classifier as a `Model`, for `TextInputs` and the parameters of `init`.

    Segments are ignored.

    Raises: UserError if `dtype` is not float32, or with `remat`: only transformers support these.
    """
    if jnp.dtype(dtype) != jnp.float32 or remat:
        raise UserError(
            "a GRU computes in float32 and needs little memory: train without --precision and "
            "--remat"
        )
    return _network(config, family)


@functools.cache
def _network(config: GruConfig, family: Family) -> Model:
    def states(params: Params, inputs: TextInputs) -> tuple[Float[Array, "B C"], States]:
        words = _embed(config, params, inputs)
        return logits_from(params, inputs, words, 0), (words,)

    def logits_from(
        params: Params, inputs: TextInputs, state: Float[Array, "B T D"], layer: Layer
    ) -> Float[Array, "B C"]:
        return _classify(config, params, _read(config, params, state, inputs.valid))

    return Model(states, logits_from, layers=("W",), family=family)


@functools.cache
def training_logits(config: GruConfig) -> TrainingLogits:
    """(params, inputs, key) -> logits, with the dropout of `config` drawn from the key.

    With rates of 0 these are the classifier's own logits.
    """

    def logits(params: Params, inputs: TextInputs, key: Key[Array, ""]) -> Float[Array, "B C"]:
        input_key, output_key = jax.random.split(key)
        words = _drop(config.dropout.input, _embed(config, params, inputs), input_key)
        last = _read(config, params, words, inputs.valid)
        return _classify(config, params, _drop(config.dropout.output, last, output_key))

    return logits


def _embed(config: GruConfig, params: Params, inputs: TextInputs) -> Float[Array, "B T D"]:
    return _apply(nn.Embed(config.vocabulary, config.width), params["word"], inputs.tokens)


def _read(
    config: GruConfig,
    params: Params,
    words: Float[Array, "B T D"],
    valid: Bool[Array | np.ndarray, "B T"],
) -> Float[Array, "B D"]:
    return _apply(GRU(config.width), params["gru"], words, jnp.asarray(valid))


def _classify(config: GruConfig, params: Params, last: Float[Array, "B D"]) -> Float[Array, "B C"]:
    return _apply(_head(config), params["head"], last)


def _head(config: GruConfig) -> nn.Dense:
    return dense(config.width, config.classes)


def _apply(module: nn.Module, own: Params, *inputs: Any) -> Any:
    return module.apply({"params": own}, *inputs)


def _drop(rate: float, x: Float[Array, "B *T D"], key: Key[Array, ""]) -> Any:
    return drop(rate).apply({}, x, rngs={"dropout": key})


def read_config(folder: Path, description: Description, classes: int) -> GruConfig:
    """The sizes in config.json. Raises: UserError if one is missing."""
    fields = Fields(folder, description)
    return GruConfig(
        **fields.sizes(SIZES),
        classes=classes,
        dropout=GruDropout(
            fields.number("input_dropout", USUAL_DROPOUT.input),
            fields.number("output_dropout", USUAL_DROPOUT.output),
        ),
    )


def describe(config: GruConfig) -> Description:
    """The inverse of `read_config`."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "input_dropout": config.dropout.input,
        "output_dropout": config.dropout.output,
    }


def name(config: GruConfig) -> Name:
    """gru/input_kernel -> gru.weight_ih_l0"""
    return NAMES.__getitem__


GRU_CLASSIFIER = Architecture(
    model_type="diffmask_gru",
    class_name="DiffMaskGruClassifier",
    read_config=read_config,
    describe=describe,
    model=gru_classifier,
    training_logits=training_logits,
    init=init,
    init_head=lambda key, config: {"head": init(key, config)["head"]},
    name=name,
    base="word.",
    outside=("gru.",),
    recipe=Recipe(epochs=8, encoder_rate=1e-3, head_rate=1e-3),
    frozen=("word",),
)


def fresh_gru(encoder: Classifier, labels: Sequence[str], seed: int = 0) -> Classifier:
    """A GRU drawn from the seed, over the word embeddings and the tokenizer of an encoder.

    Its head is of the same kind as the encoder's.

    Raises: UserError if the labels are not distinct, or are too few.
    """
    check_class_names(labels, encoder.head.fewest)
    word = encoder.params["word"]["embedding"]
    vocabulary, width = word.shape
    config = GruConfig(vocabulary, encoder.config.positions, width, len(labels))
    params = init(jax.random.key(seed), config) | {"word": {"embedding": word}}
    return Classifier(
        network=gru_classifier(config, encoder.head.family(1.0)),
        params=params,
        tokenizer=encoder.tokenizer,
        config=config,
        labels=tuple(labels),
        head=encoder.head,
        architecture=GRU_CLASSIFIER,
        path=encoder.path,
    )
