"""A GRU classifier as a folder, and a fresh one from the word embeddings of a BERT."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models import hub
from diffmask_jax.models.bert_weights import word_params
from diffmask_jax.models.gru_classifier import (
    USUAL_DROPOUT,
    GruConfig,
    GruDropout,
    gru_classifier,
    init,
)
from diffmask_jax.models.hub import Checkpoint, find_folder, read_tokenizer_of
from diffmask_jax.models.huggingface.description import (
    Description,
    check_class_names,
    class_names,
    describe_class_names,
    rate,
    read_description,
    size,
)
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.huggingface.weights import read_weights, to_params, to_weights

MODEL_TYPE = "diffmask_gru"

# Our name of a size -> its key in config.json, there and in a BERT's.
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


def fresh_gru(embeddings: str | Path, labels: Sequence[str], seed: int = 0) -> Checkpoint:
    """A GRU drawn from the seed, over the word embeddings and the tokenizer of a BERT.

    embeddings: a folder or hub id of any model with a BERT in it, of which nothing else is used.

    Raises: UserError if they cannot be had or read, or if the labels are not two or more different
        names.
    """
    check_class_names(labels)
    folder = find_folder(embeddings)
    config = _config(folder, read_description(folder, [hub.MODEL_TYPE]), len(labels))
    word = word_params(read_weights(folder), config.vocabulary, config.width)
    return _checkpoint(folder, config, tuple(labels), init(jax.random.key(seed), config, word))


def load_gru(
    name_or_path: str | Path, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Checkpoint:
    """The GRU classifier that `save_gru` left in a folder, or under a hub id.

    Raises: UserError if it cannot be had, lacks a file or holds a damaged one; or if it is asked to
        compute as only a BERT can, in another type than float32 or with `remat`.
    """
    if jnp.dtype(dtype) != jnp.float32 or remat:
        raise UserError(
            f"{name_or_path} is a GRU, which computes in float32 and keeps little: train without "
            "--precision and --remat"
        )
    folder = find_folder(name_or_path)
    found = read_description(folder, [MODEL_TYPE])
    labels = class_names(found.get("id2label"))
    config = _config(folder, found, len(labels))
    word = {"embedding": jax.ShapeDtypeStruct((config.vocabulary, config.width), jnp.float32)}
    expected = jax.eval_shape(lambda word: init(jax.random.key(0), config, word), word)
    params = to_params(read_weights(folder), expected, NAMES.__getitem__)
    return _checkpoint(folder, config, labels, params)


def save_gru(folder: str | Path, checkpoint: Checkpoint) -> None:
    """A GRU classifier as `load_gru` reads it; its tensors are named and laid out as PyTorch's.

    Raises: UserError as `saving.save` does.
    """
    config = checkpoint.config
    assert isinstance(config, GruConfig)
    description = {
        "model_type": MODEL_TYPE,
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "input_dropout": config.dropout.input,
        "output_dropout": config.dropout.output,
        **describe_class_names(checkpoint.labels),
    }
    save(folder, checkpoint, description, to_weights(checkpoint.params, NAMES.__getitem__))


def _config(folder: Path, found: Description, classes: int) -> GruConfig:
    return GruConfig(
        **{ours: size(folder, found, theirs) for ours, theirs in SIZES.items()},
        classes=classes,
        dropout=GruDropout(
            rate(folder, found, "input_dropout", USUAL_DROPOUT.input),
            rate(folder, found, "output_dropout", USUAL_DROPOUT.output),
        ),
    )


def _checkpoint(
    folder: Path, config: GruConfig, labels: tuple[str, ...], params: Params
) -> Checkpoint:
    tokenizer = read_tokenizer_of(folder, config.vocabulary)
    return Checkpoint(gru_classifier(config), params, tokenizer, config, labels, str(folder))
