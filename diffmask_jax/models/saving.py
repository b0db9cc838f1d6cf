"""A BERT classifier as a Hugging Face folder, which `load_bert` and PyTorch read."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import safetensors.numpy

from diffmask_jax.errors import UserError
from diffmask_jax.models.hub import SIZES, Checkpoint
from diffmask_jax.models.weights import to_weights

WEIGHTS = "model.safetensors"
TRAINING = "finetuning"
"""The subfolder where whoever trains a model keeps what belongs to the training; left alone."""

# What config.json may say of the source's head and files, and would be wrong of these.
OUTDATED = ("num_labels", "_num_labels", "torch_dtype", "auto_map", "finetuning_task")


def save_bert(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write config.json, the weights in float32 and the tokenizer's files.

    What else the source's config.json says is taken over. The files are made in a sibling folder
    and take their places at the end, the weights last, so that at every moment the folder holds no
    weights or a whole model. It may exist if it is empty or holds this model with other weights.

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
            _write(made, checkpoint)
            _check_same_but_weights(place, made)
            for path in sorted(made.iterdir(), key=lambda path: path.name == WEIGHTS):
                os.replace(path, place / path.name)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def _write(made: Path, checkpoint: Checkpoint) -> None:
    source = Path(checkpoint.path)
    checkpoint.tokenizer.save_pretrained(made)
    if (source / "vocab.txt").is_file():
        shutil.copyfile(source / "vocab.txt", made / "vocab.txt")
    text = json.dumps(_description(checkpoint, source / "config.json"), indent=2) + "\n"
    (made / "config.json").write_text(text, encoding="utf-8")
    data = safetensors.numpy.save(to_weights(checkpoint.params), metadata={"format": "pt"})
    with open(made / WEIGHTS, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file


def _description(checkpoint: Checkpoint, source: Path) -> dict[str, Any]:
    """The content of config.json."""
    config, labels = checkpoint.config, checkpoint.labels
    before = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    return {key: value for key, value in before.items() if key not in OUTDATED} | {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "problem_type": "single_label_classification",
        "dtype": "float32",
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "hidden_dropout_prob": config.dropout.hidden,
        "attention_probs_dropout_prob": config.dropout.attention,
        "classifier_dropout": config.dropout.classifier,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
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
