"""A BERT from a Hugging Face folder or hub id: a classifier to explain, or an encoder to train.

config.json is read here and only BERT's tokenizer is imported from transformers: its Auto classes
would import PyTorch wherever that is installed, more than a second of every command.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models.bert import bert_classifier
from diffmask_jax.models.bert_config import USUAL_DROPOUT, BertConfig, Dropout
from diffmask_jax.models.bert_weights import bert_params, with_fresh_head
from diffmask_jax.models.gru_classifier import GruConfig
from diffmask_jax.models.huggingface.description import (
    Description,
    check_class_names,
    class_names,
    rate,
    read_description,
    read_json,
    size,
)
from diffmask_jax.models.huggingface.weights import Weights, read_weights, weights_file

MODEL_TYPE = "bert"

# Our name of a size -> its key in config.json.
SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "blocks": "num_hidden_layers",
    "intermediate": "intermediate_size",
}


class Checkpoint(NamedTuple):
    """A pretrained classifier.

    Attributes:
        model: the network.
        params: its float32 parameters.
        tokenizer: transformers' fast tokenizer; it neither truncates nor pads.
        config: its sizes.
        labels: the names of its classes, in the order of the logits.
        path: the folder it was read from.
    """

    model: Model
    params: Params
    tokenizer: Any
    config: BertConfig | GruConfig
    labels: tuple[str, ...]
    path: str


def load_bert(
    name_or_path: str | Path, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Checkpoint:
    """The BERT sequence classifier in a Hugging Face folder or under a hub id.

    A folder of that name goes before the hub. Weights may be safetensors (sharded or not), Flax
    msgpack, or, where PyTorch is installed, a .bin file; float32 parameters come out.

    dtype, remat: how the model computes, as for `bert_classifier`.

    Raises: UserError if the folder or the hub's copy cannot be had, lacks a file or holds a damaged
        one, or if the model is not an absolute-position BERT with a classification head.
    """
    folder = find_folder(name_or_path)
    config, labels = read_config(folder)
    model = bert_classifier(config, dtype, remat)
    return _checkpoint(folder, model, read_weights(folder), config, labels)


def load_encoder(name_or_path: str | Path, labels: Sequence[str], seed: int = 0) -> Checkpoint:
    """A pretrained BERT under a fresh head for classes of these names, ready to be fine-tuned.

    Found and read as by `load_bert`, but from any model with a BERT in it: a bare BertModel, one
    for pretraining, another classifier, whose own head is thrown away. A pooler is kept; what is
    new is drawn from the seed.

    Raises: UserError as `load_bert` does, except over the checkpoint's own head; or if the labels
        are not two or more different names.
    """
    check_class_names(labels)
    folder = find_folder(name_or_path)
    config = _config(folder, _read_bert_description(folder), len(labels))
    weights = with_fresh_head(read_weights(folder), config, jax.random.key(seed))
    return _checkpoint(folder, bert_classifier(config), weights, config, tuple(labels))


def _checkpoint(
    folder: Path, model: Model, weights: Weights, config: BertConfig, labels: tuple[str, ...]
) -> Checkpoint:
    params, tokenizer = bert_params(weights, config), read_tokenizer_of(folder, config.vocabulary)
    return Checkpoint(model, params, tokenizer, config, labels, str(folder))


def find_folder(name_or_path: str | Path) -> Path:
    """The folder itself, or the local copy of a hub id, downloaded if need be.

    Raises: UserError if there is no such folder and the hub does not give one.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise UserError(f"{folder} is a file: give the folder that holds it")
    name = str(name_or_path)
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"there is no folder {name}")
    try:
        return _download(name)
    except Exception as error:  # of the hub's client, or of the HTTP library below it
        raise UserError(
            f"there is no folder {name}, and the Hugging Face hub gave no such model "
            f"({type(error).__name__}): check the name and the network"
        ) from error


def _download(name: str) -> Path:
    """The hub's files for a model in their best format; offline, what an earlier call cached."""
    from huggingface_hub import snapshot_download

    text = ["config.json", "tokenizer*.json", "special_tokens_map.json", "vocab.txt"]
    safetensors = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
    # One format after the other, for a repository often holds the same weights in all of them.
    for weights in (safetensors, ["flax_model.msgpack"], ["pytorch_model.bin"]):
        folder = Path(snapshot_download(name, allow_patterns=text + weights, etag_timeout=5))
        if weights_file(folder):
            break
    return folder


def read_config(folder: Path) -> tuple[BertConfig, tuple[str, ...]]:
    """The sizes and the class labels in a folder's config.json.

    Raises: UserError if it is missing or damaged, or describes another kind of model.
    """
    found = _read_bert_description(folder)
    # transformers leaves id2label out where it is its default: two classes without names.
    names = class_names(found.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"})
    return _config(folder, found, len(names)), names


def _read_bert_description(folder: Path) -> Description:
    """What config.json says, if it is about a BERT that we can run."""
    found = read_description(folder, [MODEL_TYPE])
    position = found.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise UserError(f"position_embedding_type {position!r} is not supported, only 'absolute'")
    if found.get("is_decoder"):
        raise UserError("a BERT decoder (is_decoder in config.json) is not supported")
    return found


def _config(folder: Path, found: Description, classes: int) -> BertConfig:
    hidden = rate(folder, found, "hidden_dropout_prob", USUAL_DROPOUT.hidden)
    attention = rate(folder, found, "attention_probs_dropout_prob", USUAL_DROPOUT.attention)
    return BertConfig(
        **{ours: size(folder, found, theirs) for ours, theirs in SIZES.items()},
        classes=classes,
        activation=found.get("hidden_act", "gelu"),
        epsilon=found.get("layer_norm_eps", 1e-12),
        dropout=Dropout(hidden, attention, rate(folder, found, "classifier_dropout", hidden)),
    )


def read_tokenizer_of(folder: Path, vocabulary: int) -> Any:
    """The tokenizer of a model that knows so many word pieces.

    Raises: UserError if it is missing or damaged, or has more pieces than the model.
    """
    tokenizer = read_tokenizer(folder)
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} pieces, the model only "
            f"{vocabulary}: they do not belong together"
        )
    return tokenizer


def read_tokenizer(folder: Path) -> Any:
    """A folder's tokenizer, without the truncation and padding that its file may carry.

    Raises: UserError if it is missing or damaged.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise UserError(f"{folder} holds no tokenizer: neither tokenizer.json nor vocab.txt")
    import transformers

    settings = folder / "tokenizer_config.json"
    kind = read_json(settings).get("tokenizer_class") if settings.is_file() else None
    is_bert = kind in (None, "BertTokenizer", "BertTokenizerFast")
    source = transformers.BertTokenizer if is_bert else transformers.AutoTokenizer
    try:
        tokenizer = source.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust parser raises bare exceptions
        reason = " ".join(str(error).split())
        raise UserError(f"the tokenizer in {folder} cannot be read ({reason})") from error
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer in {folder}, {kind}, has no fast version")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer
