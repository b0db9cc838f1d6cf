"""Loading a network by its name, and an encoder with a fresh head, of any architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffmask_jax.data.wordpieces import SEGMENTS
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models.albert import ALBERT
from diffmask_jax.models.architecture import Architecture, Classifier, param_shapes
from diffmask_jax.models.bert import BERT
from diffmask_jax.models.deberta_v2 import DEBERTA_V2
from diffmask_jax.models.distilbert import DISTILBERT
from diffmask_jax.models.electra import ELECTRA
from diffmask_jax.models.gpt2 import GPT2
from diffmask_jax.models.gru_classifier import GRU_CLASSIFIER
from diffmask_jax.models.heads import SINGLE_LABEL, SPANS, Head, head_of
from diffmask_jax.models.huggingface.description import (
    Description,
    check_class,
    check_class_names,
    number_of_outputs,
    output_names,
    read_description,
    tell_other_numbers,
)
from diffmask_jax.models.huggingface.folders import find_folder
from diffmask_jax.models.huggingface.tokenizers import (
    read_tokenizer_of,
    with_segments,
    without_segments,
)
from diffmask_jax.models.huggingface.weights import (
    Weights,
    read_weights,
    tensor_names,
    to_params,
    to_weights,
)
from diffmask_jax.models.modernbert import MODERNBERT
from diffmask_jax.models.mpnet import MPNET
from diffmask_jax.models.problem_types import SPAN_OUTPUTS
from diffmask_jax.models.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA

AT_ONCE = 16  # blocks whose shapes are computed in no time

ARCHITECTURES = {
    architecture.model_type: architecture
    for architecture in (
        ALBERT,
        BERT,
        CAMEMBERT,
        DEBERTA_V2,
        DISTILBERT,
        ELECTRA,
        GPT2,
        GRU_CLASSIFIER,
        MODERNBERT,
        MPNET,
        ROBERTA,
        XLM_ROBERTA,
    )
}


def load_classifier(
    name_or_path: str | Path, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Classifier:
    """The sequence classifier in a Hugging Face folder or under a hub id.

    A folder of that name takes precedence over the hub. Weights may be safetensors (sharded or
    not), Flax msgpack or, if PyTorch is installed, a .bin file; parameters become float32.

    dtype: the type of its computations; its logits stay float32. remat: save memory in backward
    passes.

    Raises: UserError if the folder or the hub's copy cannot be read, lacks a file or has a damaged
        one, or if the model's architecture is not one of ARCHITECTURES or its head another one.
    """
    folder = find_folder(name_or_path)
    description = read_description(folder, list(ARCHITECTURES))
    architecture = ARCHITECTURES[description["model_type"]]
    check_class(description, architecture.class_name)
    labels = output_names(description)
    tell_other_numbers(description)
    head = head_of(description.get("problem_type"), len(labels))
    return _load(folder, description, architecture, labels, head, dtype, remat)


def load_answerer(
    name_or_path: str | Path, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Classifier:
    """The network for question answering in a Hugging Face folder or under a hub id (`SPANS`).

    One of transformers' …ForQuestionAnswering classes, found and read as by `load_classifier`.

    Raises: UserError as `load_classifier` does, and if the model does not answer questions.
    """
    folder = find_folder(name_or_path)
    description = read_description(folder, list(ARCHITECTURES))
    architecture = architecture_under(SPANS, description)
    check_class(description, architecture.class_name, "questions with answers")
    if (outputs := number_of_outputs(description)) != SPANS.fewest:
        raise UserError(
            "an answer takes two outputs, its start and its end, but the checkpoint has "
            f"{outputs}: it does not answer questions"
        )
    return _load(folder, description, architecture, SPAN_OUTPUTS, SPANS, dtype, remat)


def architecture_under(head: Head, description: Description) -> Architecture:
    """The architecture of a config.json, with a head. Raises: UserError if there is none."""
    architecture = ARCHITECTURES[description["model_type"]]
    if not head.spans:
        return architecture
    if architecture.spans is None:
        raise UserError(f"a {architecture.model_type} cannot answer questions: use an encoder")
    return architecture.spans


def load_encoder(
    name_or_path: str | Path, labels: Sequence[str], seed: int = 0, head: Head = SINGLE_LABEL
) -> Classifier:
    """A pretrained encoder with a fresh head for these labels, to be fine-tuned.

    Found and read as by `load_classifier`, but from any model that contains such an encoder: a bare
    encoder, a model for pretraining, or another classifier, whose own head is discarded. Parts that
    belong to the encoder, such as BERT's pooler, are kept; new ones are drawn from the seed. For
    question answering: `load_encoder(name, SPAN_OUTPUTS, seed, SPANS)`.

    Raises: UserError as `load_classifier` does, except about the checkpoint's own head; or if the
        labels are not distinct, or are too few for the head.
    """
    check_class_names(labels, head.fewest)
    folder = find_folder(name_or_path)
    description = read_description(folder, list(ARCHITECTURES))
    architecture = architecture_under(head, description)
    config = architecture.read_config(folder, description, len(labels))
    weights = with_fresh_head(read_weights(folder), architecture, config, seed)
    params = classifier_params(weights, architecture, config)
    found = _classifier(folder, description, architecture, config, params, tuple(labels), head)
    if architecture.words_for_segments:  # which it is then not fine-tuned with
        found = found._replace(tokenizer=without_segments(found.tokenizer))
    return found


def _load(
    folder: Path,
    description: Description,
    architecture: Architecture,
    labels: tuple[str, ...],
    head: Head,
    dtype: DTypeLike,
    remat: bool,
) -> Classifier:
    config = architecture.read_config(folder, description, len(labels))
    params = classifier_params(read_weights(folder), architecture, config)
    found = _classifier(
        folder, description, architecture, config, params, labels, head, dtype, remat
    )
    if architecture.words_for_segments and SEGMENTS in found.tokenizer.model_input_names:
        raise UserError(
            f"the tokenizer in {folder} feeds {SEGMENTS}, for each of which a "
            f"{architecture.model_type} adds the embedding of a word: this is not supported; if it "
            'was fine-tuned without them, set "model_input_names" to ["input_ids", '
            '"attention_mask"] in tokenizer_config.json'
        )
    return found


def _classifier(
    folder: Path,
    description: Description,
    architecture: Architecture,
    config: Any,
    params: Params,
    labels: tuple[str, ...],
    head: Head,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
) -> Classifier:
    network = architecture.model(config, head.family(1.0), dtype, remat)
    usual = architecture.tokenizer
    tokenizer = read_tokenizer_of(folder, config.vocabulary, usual)
    tokenizer = with_segments(tokenizer, folder, description, config.segments, usual)
    return Classifier(network, params, tokenizer, config, labels, head, architecture, str(folder))


def classifier_params(weights: Weights, architecture: Architecture, config: object) -> Params:
    """Float32 parameters of a network; superfluous tensors are ignored.

    Raises: UserError naming the tensor that is missing, of the wrong shape, not of floats or not
        finite; or if there is no head of this kind, or fewer blocks than config.json states.
    """
    name = architecture.name(config)
    _check_depth(weights, config)
    shapes = param_shapes(architecture, config)
    heads = [tensor for tensor in tensor_names(shapes, name) if not belongs(architecture, tensor)]
    weights = _with_base(weights, architecture, heads)
    if not any(tensor in weights for tensor in heads):
        raise UserError(
            f"the checkpoint has no {architecture.head_name} head (no tensor {heads[-1]}): "
            f"fine-tune it on a {architecture.head_name} task first"
        )
    return to_params(weights, shapes, name)


def _check_depth(weights: Weights, config: object) -> None:
    """Raises: UserError for too few tensors, before the shapes of all blocks are computed."""
    blocks = getattr(config, "drawn", getattr(config, "blocks", 0))  # ALBERT's share parameters
    if blocks > max(len(weights), AT_ONCE):
        raise UserError(
            f"config.json asks for {blocks} blocks, but the weights have {len(weights)} tensors: "
            "they do not belong together"
        )


def with_fresh_head(
    weights: Weights, architecture: Architecture, config: object, seed: int
) -> Weights:
    """The encoder in a checkpoint of any kind, with a new head: weights N(0, 0.02²), biases 0.

    Raises: UserError as `classifier_params` does, before a head is drawn, which may be large.
    """
    name, kept = architecture.name(config), encoder(weights, architecture)
    _check_depth(kept, config)
    shapes = param_shapes(architecture, config)
    to_params(kept, {part: tree for part, tree in shapes.items() if part != "head"}, name)
    head = architecture.init_head(jax.random.key(seed), config)
    return to_weights(head, name) | kept


def encoder(weights: Weights, architecture: Architecture) -> Weights:
    """The encoder's tensors in a checkpoint of any kind, under the names that classifiers use."""
    weights = _with_base(weights, architecture)
    return {name: tensor for name, tensor in weights.items() if belongs(architecture, name)}


def _with_base(weights: Weights, architecture: Architecture, heads: Sequence[str] = ()) -> Weights:
    """The tensors of a checkpoint under the names that classifiers use, which bare encoders lack.

    heads: the names of the tensors of its head
    """
    if any(name.startswith(architecture.base) for name in weights):
        return weights
    kept = {name for name in weights if name in heads or belongs(architecture, name)}
    return {
        name if name in kept else architecture.base + name: tensor
        for name, tensor in weights.items()
    }


def belongs(architecture: Architecture, tensor: str) -> bool:
    """Whether the tensor of this name belongs to a pretrained encoder."""
    return tensor.startswith((architecture.base, *architecture.outside))
