"""A classifier as a folder in Hugging Face's layout: written whole, over nothing else."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import safetensors.numpy

from diffmask_jax.errors import UserError
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.models.bert_weights import pytorch_name
from diffmask_jax.models.hub import MODEL_TYPE, SIZES, Checkpoint
from diffmask_jax.models.huggingface.description import Description, describe_class_names
from diffmask_jax.models.huggingface.weights import Weights, to_weights

WEIGHTS = "model.safetensors"
TRAINING = "finetuning"
"""The subfolder where whoever trains a model keeps what belongs to the training; left alone."""

# What config.json may say of the source's head and files, and would be wrong of these.
OUTDATED = ("num_labels", "_num_labels", "torch_dtype", "auto_map", "finetuning_task")


def save_bert(folder: str | Path, checkpoint: Checkpoint) -> None:
    """A BERT classifier as `load_bert` and PyTorch read it.

    What else the source's config.json says is taken over.

    Raises: UserError as `save` does.
    """
    assert isinstance(checkpoint.config, BertConfig)
    source = Path(checkpoint.path) / "config.json"
    description = _description(checkpoint.config, checkpoint.labels, source)
    save(folder, checkpoint, description, to_weights(checkpoint.params, pytorch_name))


def save(
    folder: str | Path, checkpoint: Checkpoint, description: Description, weights: Weights
) -> None:
    """Write config.json with a description, the weights in float32 and the tokenizer's files.

    The files are made in a sibling folder and take their places at the end, the weights last, so
    that at every moment the folder holds no weights or a whole model. It may exist if it is empty
    or holds this model with other weights.

    Raises: UserError if the folder holds something else or cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        with tempfile.TemporaryDirectory(
            prefix=f".{place.name[:200]}.", suffix=".tmp", dir=place.parent
        ) as temporary:
            made = Path(temporary)
            _write_tokenizer(made, checkpoint)
            _write(made, description, weights)
            _check_same_but_weights(place, made)
            for path in sorted(made.iterdir(), key=lambda path: path.name == WEIGHTS):
                os.replace(path, place / path.name)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def _write_tokenizer(made: Path, checkpoint: Checkpoint) -> None:
    vocabulary = Path(checkpoint.path) / "vocab.txt"
    checkpoint.tokenizer.save_pretrained(made)
    if vocabulary.is_file():
        shutil.copyfile(vocabulary, made / "vocab.txt")


def _write(made: Path, description: Description, weights: Weights) -> None:
    text = json.dumps(description, indent=2) + "\n"
    (made / "config.json").write_text(text, encoding="utf-8")
    data = safetensors.numpy.save(weights, metadata={"format": "pt"})
    with open(made / WEIGHTS, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file


def _description(config: BertConfig, labels: tuple[str, ...], source: Path) -> Description:
    """The content of a BERT's config.json, over that of its source."""
    before = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    return {key: value for key, value in before.items() if key not in OUTDATED} | {
        "model_type": MODEL_TYPE,
        "architectures": ["BertForSequenceClassification"],
        "problem_type": "single_label_classification",
        "dtype": "float32",
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "hidden_dropout_prob": config.dropout.hidden,
        "attention_probs_dropout_prob": config.dropout.attention,
        "classifier_dropout": config.dropout.classifier,
        **describe_class_names(labels),
    }


def _check_same_but_weights(folder: Path, made: Path) -> None:
    """Raises: UserError if more would be lost than the weights of this same model."""
    for path in folder.iterdir():
        twin = made / (path.name if path.name != WEIGHTS else "config.json")
        ours = folder / twin.name
        same = twin.is_file() and ours.is_file() and ours.read_bytes() == twin.read_bytes()
        if path.name != TRAINING and not same:
            raise UserError(
                f"{folder} holds something else ({path.name} is not of this model): "
                "choose another folder"
            )
