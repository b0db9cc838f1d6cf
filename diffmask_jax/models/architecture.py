"""All that is specific to a kind of network, and a pretrained network of any kind with its head."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from diffmask_jax.data.encoding import encode_within
from diffmask_jax.data.question_pairs import encode_question_pairs
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import Family
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models import transformer
from diffmask_jax.models.config import NO_DROPOUT, Dropout, EncoderConfig
from diffmask_jax.models.heads import Head
from diffmask_jax.models.huggingface.description import Description
from diffmask_jax.models.huggingface.weights import Name, leaf_name
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.models.span_head import SpanHead
from diffmask_jax.models.transformer import Parts, TrainingLogits

USUAL_RECIPE = Recipe()


class Architecture(NamedTuple):
    """A kind of network; each has a file of its own.

    Attributes:
        model_type: its name in config.json.
        class_name: PyTorch's class for it with this head.
        read_config: (folder, its config.json, number of outputs) -> its sizes. Raises: UserError.
        describe: its sizes -> their entries in config.json; all other entries are copied.
        model: (sizes, family, dtype, remat) -> the network in evaluation mode.
        training_logits: sizes -> its forward pass with dropout.
        init: (key, sizes) -> random parameters.
        init_head: (key, sizes) -> random parameters of its head alone, by their top-level names.
        name: sizes -> the place of a parameter of ours -> PyTorch's name of its tensor.
        base: the prefix of PyTorch's names of the encoder's tensors, "bert.".
        outside: prefixes of further tensors that belong to a pretrained encoder.
        tokenizer: transformers' class of its tokenizer, if no file of a folder names one;
            TokenizersBackend reads tokenizer.json alone, whatever class the files name.
        words_for_segments: whether it would embed segments by the table of words, as GPT-2 does.
        recipe: how to fine-tune it.
        frozen: top-level parts of its parameters that fine-tuning does not change.
        head_name: the name of its head: classification, or question answering.
        spans: the same network with a span head; None if there is none.
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
    words_for_segments: bool = False
    recipe: Recipe = USUAL_RECIPE
    frozen: tuple[str, ...] = ()
    head_name: str = "classification"
    spans: "Architecture | None" = None


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
    words_for_segments: bool = False,
    span_head: Callable[[Any, DTypeLike, Dropout], nn.Module] = SpanHead,
    span_tensors: str = "qa_outputs",
) -> Architecture:
    """An encoder's architecture, with a classification head and, as its `spans`, with a span head.

    parts: (sizes, dtype, dropout) -> its linen modules, with the classification head
    span_head: (sizes, dtype, dropout) -> the span head, whose last layer is `span_logits`
    span_tensors: PyTorch's module of that layer; all other names are those of the classifier
    """

    def span_parts(config: Any, dtype: DTypeLike, dropout: Dropout) -> Parts:
        head = span_head(config, dtype, dropout)
        usual = parts(config, dtype, dropout)
        return usual._replace(head=head, reads=None, counting=transformer.all_valid)

    def span_name(config: Any) -> Name:
        usual = name(config)

        def tensor(place: str) -> str:
            module, _, leaf = place.rpartition("/")
            return leaf_name(span_tensors, leaf) if module == "head/spans" else usual(place)

        return tensor

    classifier = Architecture(
        model_type=model_type,
        class_name=class_name,
        read_config=read_config,
        describe=describe,
        name=name,
        base=base,
        outside=outside,
        tokenizer=tokenizer,
        words_for_segments=words_for_segments,
        **_functions(parts),
    )
    spans = classifier._replace(
        class_name=class_name.replace("SequenceClassification", "QuestionAnswering"),
        name=span_name,
        head_name="question answering",
        **_functions(span_parts),
    )
    return classifier._replace(spans=spans)


def _functions(parts: Callable[[Any, DTypeLike, Dropout], Parts]) -> dict[str, Any]:
    """The functions of an `Architecture` that follow from an encoder's parts."""

    # Cached by sizes, since JAX finds compiled programs by the identity of their functions.
    @functools.cache
    def model(config: EncoderConfig, family: Family, dtype: DTypeLike, remat: bool) -> Model:
        made = parts(config, dtype, NO_DROPOUT)
        return transformer.make_model(made, config, family, dtype, remat)

    @functools.cache
    def training_logits(config: EncoderConfig) -> TrainingLogits:
        made = parts(config, jnp.float32, config.dropout)
        return transformer.make_training_logits(made, config)

    def init(key: Key[Array, ""], config: EncoderConfig) -> Params:
        return transformer.init(key, parts(config, jnp.float32, NO_DROPOUT), config)

    def init_head(key: Key[Array, ""], config: EncoderConfig) -> Params:
        made = parts(config, jnp.float32, NO_DROPOUT)
        return {"head": transformer.init_head(key, made, config)}

    functions = (model, training_logits, init, init_head)
    return {function.__name__: function for function in functions}


class Classifier(NamedTuple):
    """A pretrained network with a head, and all that is needed to apply it to texts.

    Attributes:
        network: the network.
        params: its float32 parameters.
        tokenizer: its folder's tokenizer (`tokenizers.FolderTokenizer`).
        config: its sizes; `positions` is the largest number of word pieces of a text.
        labels: the names of its outputs, in order.
        head: the meaning of its outputs.
        architecture: the kind of network.
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

    def encode(
        self, texts: Sequence[Text], truncate: bool = False, rows: Sequence[str] | None = None
    ) -> list[Encoded]:
        """The word pieces of each text or pair, at most as many as the network reads.

        If the head answers questions, the texts are pairs of a question and its passage, and only
        the passage is truncated.
        rows: how messages refer to each text, such as its line in a file; by default its number.

        Raises: UserError for an empty text, for one that is too long if `truncate` is false, for a
            pair of which the tokenizer distinguishes segments that the model does not know; and, if
            the head answers questions, for anything but a pair of a question and a passage.
        """
        if self.head.spans:
            pairs = [text for text in texts if not isinstance(text, str)]
            if len(pairs) < len(texts):
                raise UserError(
                    f"{self.path} answers questions: give each with its passage, as a pair, or "
                    "pass --question and --passage"
                )
            encoded = encode_question_pairs(
                self.tokenizer, pairs, self.config.positions, truncate, rows
            )
        else:
            encoded = encode_within(self.tokenizer, texts, self.config.positions, truncate, rows)
        self.check_segments(encoded)
        return encoded

    def check_answers(self) -> None:
        """Raises: UserError if the head does not answer questions."""
        if not self.head.spans:
            raise UserError(f"{self.path} is a classifier and answers no questions: give it texts")

    def check_segments(self, encoded: Sequence[Encoded]) -> None:
        """Raises: UserError if the network knows fewer kinds of segments than its tokenizer."""
        known = self.config.segments
        told_apart = max((int(text.segments.max()) for text in encoded), default=0) + 1
        if known and told_apart > known:
            raise UserError(
                f"the tokenizer of {self.path} marks {told_apart} segments, but the model knows "
                f"only {known}: it cannot read pairs; if it was fine-tuned on pairs without "
                'segments, set "model_input_names" to ["input_ids", "attention_mask"] in '
                "tokenizer_config.json"
            )

    def scaled(self, scale: float) -> "Classifier":
        """The same classifier, its divergence measured at a scale (`Head.scale`)."""
        return self._replace(network=self.network._replace(family=self.head.family(scale)))


def param_shapes(architecture: Architecture, config: Any) -> Params:
    """The shapes of a network's parameters."""
    return jax.jit(architecture.init, static_argnums=1).eval_shape(jax.random.key(0), config)
