"""The classifier that somebody names: a BERT or a GRU, as its config.json says."""

from pathlib import Path

import jax.numpy as jnp
from jax.typing import DTypeLike

from diffmask_jax.models import gru_files, hub
from diffmask_jax.models.gru_files import load_gru
from diffmask_jax.models.hub import Checkpoint, find_folder, load_bert
from diffmask_jax.models.huggingface.description import read_description

LOADERS = {hub.MODEL_TYPE: load_bert, gru_files.MODEL_TYPE: load_gru}


def load_classifier(
    name_or_path: str | Path, dtype: DTypeLike = jnp.float32, remat: bool = False
) -> Checkpoint:
    """The classifier in a folder or under a hub id, to compute in `dtype`.

    remat: spare memory in backward passes, as `bert_classifier` says.

    Raises: UserError as `load_bert` and `load_gru` do, or if it is neither.
    """
    folder = find_folder(name_or_path)
    kind = read_description(folder, list(LOADERS))["model_type"]
    return LOADERS[kind](folder, dtype, remat)
