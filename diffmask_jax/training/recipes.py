"""Fine-tuning's settings, and what it does otherwise for a BERT than for a GRU."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.models import bert_training, gru_classifier
from diffmask_jax.models.classifier_training import TrainingLogits
from diffmask_jax.models.gru_files import save_gru
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.models.huggingface.saving import save_bert


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to fine-tune.

    Attributes:
        steps_per_call: steps in one call of the device, on batches of one length. More spare the
            host of a fast accelerator; but a length with too few texts left to fill a call has to
            wait for the next epoch.
        encoder_rate, head_rate: peak learning rates; the head is the linear layer that gives the
            logits, and in a BERT the pooler, the encoder all else that is trained.
        warmup: the share of all steps over which the rates rise from 0; then they fall to 0.
        clip: the largest global norm of a gradient.
    """

    epochs: int = 3
    batch_size: int = 32
    steps_per_call: int = 1
    encoder_rate: float = 3e-5
    head_rate: float = 3e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0


class Recipe(NamedTuple):
    """What fine-tuning must know of a kind of network.

    Attributes:
        logits: its config -> its pass in training.
        frozen: the top-level parts of its parameters that stay as they are.
        save: (folder, checkpoint) -> None, writes it whole or not at all.
        defaults: the settings that suit it.
    """

    logits: Callable[[Any], TrainingLogits]
    frozen: tuple[str, ...]
    save: Callable[[Path, Checkpoint], None]
    defaults: Settings


BERT = Recipe(bert_training.training_logits, frozen=(), save=save_bert, defaults=Settings())
GRU = Recipe(
    gru_classifier.training_logits,
    frozen=("word",),
    save=save_gru,
    defaults=Settings(epochs=8, encoder_rate=1e-3, head_rate=1e-3),
)
