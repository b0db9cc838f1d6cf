"""Saving a network as a folder in Hugging Face's layout: all of it or nothing."""

import os
import shutil
import tempfile
from pathlib import Path

import safetensors.numpy

from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.heads import HEADS
from diffmask_jax.models.huggingface.description import Description, describe_class_names
from diffmask_jax.models.huggingface.weights import Weights, to_weights
from diffmask_jax.runtime import json_files, locks

WEIGHTS = "model.safetensors"
TRAINING = "finetuning"
"""The subfolder in which the training of a model keeps its own files; it is left alone."""

UNFINISHED = ".model.", ".tmp"
"""Prefix and suffix of the folder in which the files are first written."""

# Entries about the source's head and files, which would be wrong in the new config.json.
OUTDATED = ("num_labels", "_num_labels", "torch_dtype", "auto_map", "finetuning_task")


def save(folder: str | Path, classifier: Classifier) -> None:
    """Write a network as `load_classifier` or `load_answerer` and PyTorch read it, in float32.

    Other entries of the source's config.json are copied if it is of the same architecture. The
    files are first written to a subfolder and then moved, the weights last, so that at any moment
    the folder contains no weights or a whole model. It may exist if it is empty or contains this
    model with other weights. The subfolder of a killed process is left to `remove_unfinished`.

    Raises: UserError if the folder contains anything else or cannot be written.
    """
    folder = Path(folder)
    description = _description(classifier)
    weights = to_weights(classifier.params, classifier.architecture.name(classifier.config))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prefix, suffix = UNFINISHED
        with tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=folder) as temporary:
            made = Path(temporary)
            _write_tokenizer(made, classifier)
            _write(made, description, weights)
            _check_same_but_weights(folder, made)
            for path in sorted(made.iterdir(), key=lambda path: path.name == WEIGHTS):
                os.replace(path, folder / path.name)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes have left of `save`; the caller holds the folder's lock."""
    for path in folder.iterdir():
        if _is_unfinished(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(UNFINISHED[0]) and path.name.endswith(UNFINISHED[1])


def _write_tokenizer(made: Path, classifier: Classifier) -> None:
    vocabulary = Path(classifier.path) / "vocab.txt"
    try:
        classifier.tokenizer.save_pretrained(made)
    except Exception as error:  # tokenizers raises no narrower kind, such as for a full disk
        raise error if isinstance(error, OSError) else OSError(str(error)) from error
    if vocabulary.is_file():
        shutil.copyfile(vocabulary, made / "vocab.txt")


def _write(made: Path, description: Description, weights: Weights) -> None:
    text = json_files.dumps(description, indent=2) + "\n"
    (made / "config.json").write_text(text, encoding="utf-8")
    data = safetensors.numpy.save(weights, metadata={"format": "pt"})
    with open(made / WEIGHTS, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # otherwise a power cut may leave an empty file of the new name


def _description(classifier: Classifier) -> Description:
    """The content of config.json, which overrides the source's."""
    architecture, kind = classifier.architecture, classifier.head.problem_type
    source = Path(classifier.path) / "config.json"
    before = json_files.read(source) if source.is_file() else {}
    if before.get("model_type") != architecture.model_type:
        before = {}
    return {key: value for key, value in before.items() if key not in OUTDATED} | {
        "model_type": architecture.model_type,
        "architectures": [architecture.class_name],
        "problem_type": kind if kind in HEADS else None,
        "dtype": "float32",
        **architecture.describe(classifier.config),
        **describe_class_names(classifier.labels),
    }


def _check_same_but_weights(folder: Path, made: Path) -> None:
    """Raises: UserError if anything but the weights of this same model would be overwritten."""
    for path in folder.iterdir():
        if path.name in (TRAINING, locks.FILE) or _is_unfinished(path):
            continue
        twin = made / (path.name if path.name != WEIGHTS else "config.json")
        ours = folder / twin.name
        same = twin.is_file() and ours.is_file() and ours.read_bytes() == twin.read_bytes()
        if not same:
            raise UserError(
                f"{folder} contains something else ({path.name} is not part of this model): "
                "choose another folder"
            )
