"""The paper's recurrent classifier of SST: frozen BERT word embeddings, a GRU, a linear layer.

It has one state, the embedded word pieces. The GRU is as wide as they are, and its own last state
is what the linear layer reads.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import Layer, Model, Params, States
from diffmask_jax.models.bert_config import check_rates
from diffmask_jax.models.classifier_training import TrainingLogits
from diffmask_jax.models.gru import GRU
from diffmask_jax.models.initializers import dense


class GruDropout(NamedTuple):
    """The shares that training drops at random: of the GRU's inputs, and of its last state."""

    input: float
    output: float


USUAL_DROPOUT = GruDropout(0.3, 0.3)


@dataclasses.dataclass(frozen=True)
class GruConfig:
    """The sizes of a GRU classifier, and the dropout to train it with.

    Attributes:
        positions: word pieces of the longest text that it is run on, the limit of the BERT that
            its embeddings are from.

    Raises: UserError if a dropout rate lies outside [0, 1).
    """

    vocabulary: int
    positions: int
    width: int
    classes: int
    dropout: GruDropout = USUAL_DROPOUT

    def __post_init__(self) -> None:
        check_rates(self.dropout)


def init(key: Key[Array, ""], config: GruConfig, word: Params) -> Params:
    """{"word": those given, "gru", "head": float32 parameters as PyTorch draws them}."""
    gru_key, head_key = jax.random.split(key)
    state = jnp.zeros((1, 1, config.width))
    return {
        "word": word,
        "gru": GRU(config.width).init(gru_key, state, jnp.ones((1, 1), bool))["params"],
        "head": _head(config).init(head_key, state[:, 0])["params"],
    }


def gru_classifier(config: GruConfig) -> Model:
    """The pair of functions `Model` asks for, over `TextInputs` and parameters of `init`.

    A word piece's segment is not looked at.
    """

    def states(params: Params, inputs: TextInputs) -> tuple[Float[Array, "B C"], States]:
        words = _embed(config, params, inputs)
        return logits_from(params, inputs, words, 0), (words,)

    def logits_from(
        params: Params, inputs: TextInputs, state: Float[Array, "B T D"], layer: Layer
    ) -> Float[Array, "B C"]:
        return _classify(config, params, _read(config, params, state, inputs.valid))

    return Model(states, logits_from, layers=("W",))


def training_logits(config: GruConfig) -> TrainingLogits:
    """(params, inputs, key) -> logits, with the dropout of `config` drawn from the key.

    At rates of 0 these are the classifier's own logits.
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
    """Each value is 0 with this probability, else divided by 1 - rate; at 0 the identity."""
    return nn.Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": key})
