"""How long texts may be where positions are relative, and no table of them ends."""

from pathlib import Path

from diffmask_jax.models.huggingface.description import LARGEST
from diffmask_jax.models.huggingface.tokenizer_checks import settings_in


def longest_text(folder: Path, usual: int) -> int:
    """The most word pieces of a text: tokenizer_config.json's `model_max_length` if that is more.

    usual: `max_position_embeddings`, beyond which such a model reads as well as up to there
    """
    told = settings_in(folder, "tokenizer_config.json").get("model_max_length")
    return told if type(told) is int and usual < told <= LARGEST["positions"] else usual
