"""A model's folder: a local one, or the local copy of a hub id."""

import os
import re
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface.kept_tokenizers import FILES
from diffmask_jax.models.huggingface.weights import weights_file
from diffmask_jax.runtime.files import check_plain
from diffmask_jax.runtime.messages import shows


def find_folder(name_or_path: str | Path) -> Path:
    """The folder itself, or the local copy of a hub id, downloaded if need be.

    Raises: UserError if there is neither such a folder nor such a model on the hub, or if the
        folder contains something other than regular files.
    """
    if not shows(str(name_or_path)):
        raise UserError("the model's name is empty: give its folder or hub id")
    folder = Path(os.path.expanduser(name_or_path))
    if os.path.isdir(folder):
        check_plain(folder)
        return folder
    if os.path.isfile(folder):
        raise UserError(f"{folder} is a file: give the folder that contains it")
    name = str(name_or_path)
    if not re.fullmatch(r"\w[\w.-]{,95}(/\w[\w.-]{,95})?", name, re.ASCII):
        raise UserError(f"there is no folder {name}")
    try:
        return _download(name)
    except Exception as error:  # from the hub's client or the HTTP library below it
        raise UserError(
            f"there is no folder {name}, and the Hugging Face hub provided no such model "
            f"({type(error).__name__}): check the name and the network"
        ) from error


def _download(name: str) -> Path:
    """The hub's files for a model in their best format; offline, what an earlier call cached."""
    from huggingface_hub import snapshot_download

    safetensors = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
    pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]
    # One format after another, since a repository often holds the same weights in several.
    for weights in (safetensors, ["flax_model.msgpack"], pickle):
        folder = Path(snapshot_download(name, allow_patterns=[*FILES, *weights], etag_timeout=5))
        if weights_file(folder):
            break
    return folder
