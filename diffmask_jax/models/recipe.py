"""The settings of fine-tuning, whose defaults an architecture may change."""

import dataclasses

from diffmask_jax.runtime import settings
from diffmask_jax.runtime.settings import fraction, positive, positive_int, seed, setting


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to fine-tune a network.

    Attributes:
        steps_per_call: steps per compiled call, all on batches of one length. More of them save
            host time beside a fast accelerator; but texts of a length that do not fill a call have
            to wait for the next epoch.
        encoder_rate, head_rate: peak learning rates. The head is the linear layer that yields the
            logits, with the pooling or norm before it; the encoder is everything else.
        warmup: the share of all steps over which the rates rise from 0; then they fall to 0.
        clip: the largest global norm of a gradient.

    Raises: UserError if a setting is out of its range.
    """

    epochs: int = setting(3, "passes over the training texts", check=positive_int, told="3, gru 8")
    batch_size: int = setting(32, "texts per step", check=positive_int)
    steps_per_call: int = setting(1, "steps per device call", check=positive_int)
    encoder_rate: float = setting(
        3e-5, "peak learning rate of the encoder", check=positive, told="3e-05, gru 0.001"
    )
    head_rate: float = setting(
        3e-4, "peak learning rate of the head", check=positive, told="0.0003, gru 0.001"
    )
    warmup: float = setting(0.1, "share of the steps over which the rates rise", check=fraction)
    weight_decay: float = setting(0.01, "decay of weight matrices", check=settings.not_negative)
    clip: float = setting(1.0, "largest norm of a gradient", check=positive)
    seed: int = setting(0, "seed for the head, dropout and data order", check=seed)

    def __post_init__(self) -> None:
        settings.settle(self)
