"""What must be known of a kind of network, and a classifier of any kind."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded, encode_within
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import Family
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models import transformer
from diffmask_jax.models.config import NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.heads import Head
from diffmask_jax.models.huggingface.description import Description
from diffmask_jax.models.huggingface.weights import Name
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.models.transformer import Parts, TrainingLogits

USUAL_RECIPE = Recipe()


class Architecture(NamedTuple):
    """A kind of network: one a file.

    Attributes:
        model_type: what config.json calls it.
        class_name: PyTorch's class of it with a classification head.
        read_config: (folder, its config.json, number of outputs) -> its sizes. Raises: UserError.
        describe: its sizes -> what config.json says of them; what else it says is taken over.
        model: (sizes, family, dtype, remat) -> the network in evaluation mode.
        training_logits: sizes -> its pass with dropout.
        init: (key, sizes) -> random parameters.
        init_head: (key, sizes) -> random parameters of its head alone, by their top-level names.
        name: sizes -> the place of a parameter of ours -> PyTorch's name of its tensor.
        base: what PyTorch's names of the encoder's tensors begin with, "bert.".
        outside: further beginnings of names that a pretrained encoder brings along.
        tokenizer: transformers' class of its tokenizer, where no file of a folder names one;
            TokenizersBackend goes by tokenizer.json alone, whatever they name.
        recipe: how to fine-tune it.
        frozen: top-level parts of its parameters that fine-tuning leaves as they are.
    """

    model_type: str
    class_name: str
    read_config: Callable[[Path, Description, int], Any]
    describe: Callable[[Any], Description]
    model: Callable[[Any, Family, DTypeLike, bool], Model]
    training_logits: Callable[[Any], TrainingLogits]
    init: Callable[[Key[Array, ""], Any], Params]
    init_head: Callable[[Key[Array, ""], Any], Params]
    name: Callable[[Any], Name]
    base: str
    outside: tuple[str, ...] = ()
    tokenizer: str = "BertTokenizer"
    recipe: Recipe = USUAL_RECIPE
    frozen: tuple[str, ...] = ()


def of_parts(
    parts: Callable[[Any, DTypeLike, Dropout], Parts],
    *,
    model_type: str,
    class_name: str,
    read_config: Callable[[Path, Description, int], Any],
    describe: Callable[[Any], Description],
    name: Callable[[Any], Name],
    base: str,
    outside: tuple[str, ...] = (),
    tokenizer: str = "BertTokenizer",
    recipe: Recipe = USUAL_RECIPE,
) -> Architecture:
    """An encoder's architecture; parts: (sizes, dtype, dropout) -> its linen modules."""

    def model(config: EncoderConfig, family: Family, dtype: DTypeLike, remat: bool) -> Model:
        made = parts(config, dtype, NO_DROPOUT)
        return transformer.make_model(made, config, family, dtype, remat)

    def training_logits(config: EncoderConfig) -> TrainingLogits:
        made = parts(config, jnp.float32, config.dropout)
        return transformer.make_training_logits(made, config)

    def init(key: Key[Array, ""], config: EncoderConfig) -> Params:
        return transformer.init(key, parts(config, jnp.float32, NO_DROPOUT), config)

    def init_head(key: Key[Array, ""], config: EncoderConfig) -> Params:
        made = parts(config, jnp.float32, NO_DROPOUT)
        return {"head": transformer.init_head(key, made, config)}

    return Architecture(
        model_type=model_type,
        class_name=class_name,
        read_config=read_config,
        describe=describe,
        model=model,
        training_logits=training_logits,
        init=init,
        init_head=init_head,
        name=name,
        base=base,
        outside=outside,
        tokenizer=tokenizer,
        recipe=recipe,
    )


class Classifier(NamedTuple):
    """A pretrained network with a head, and all that is needed to read texts with it.

    Attributes:
        network: the network.
        params: its float32 parameters.
        tokenizer: transformers' fast tokenizer; it neither truncates nor pads.
        config: its sizes; `positions` is the number of word pieces of the longest text it reads.
        labels: the names of its outputs, in their order.
        head: what its outputs mean.
        architecture: the kind of network it is.
        path: the folder it was read from.
    """

    network: Model
    params: Params
    tokenizer: Any
    config: Any
    labels: tuple[str, ...]
    head: Head
    architecture: Architecture
    path: str

    def encode(self, texts: Sequence[Text], truncate: bool = False) -> list[Encoded]:
        """Word pieces of each text or pair, none longer than the network reads.

        Raises: UserError for an empty text, one too long where `truncate` is false, or a pair that
            the model cannot tell apart as its tokenizer does.
        """
        encoded = encode_within(self.tokenizer, texts, self.config.positions, truncate)
        known = self.config.segments
        told_apart = max((int(text.segments.max()) for text in encoded), default=0) + 1
        if known and told_apart > known:
            raise UserError(
                f"the tokenizer of {self.path} tells {told_apart} segments apart and the model "
                f"{known}: it does not read pairs"
            )
        return encoded

    def scaled(self, scale: float) -> "Classifier":
        """The same, its divergence in units of what its head calls scale (`Head.scale`)."""
        return self._replace(network=self.network._replace(family=self.head.family(scale)))


def param_shapes(architecture: Architecture, config: Any) -> Params:
    """The shapes of a network's parameters."""
    return jax.eval_shape(lambda: architecture.init(jax.random.key(0), config))
