"""What a run's probe says and does on a data set, left in files as it is found."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from diffmask_jax.analysis import faithfulness
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.wordpieces import Encoded
from experiments.common.resume import load_or_make
from experiments.common.tokens import joined

PerText = list[np.ndarray]
"""An array (L, T) for every text."""


def outcome(
    stream: Sequence[Batch], of_batch: Callable[..., Any], params: Any, file: Path
) -> Outcome:
    """What masking with a run's gates does to every text at every layer.

    of_batch: a jitted `faithfulness.outcome_of` of a game and a kind of gates; params: the model's
    and the probe's.
    """

    def make() -> dict[str, np.ndarray]:
        evaluate = functools.partial(of_batch, *params)
        return faithfulness.measure(evaluate, stream, jax.random.key(0))._asdict()

    arrays = load_or_make(file, make)
    # Files of a time when an outcome was of one class only have no agreement.
    agreement = arrays["prediction"] == arrays["original"]
    return Outcome(**{"agreement": agreement, **arrays})


def log_keep(
    texts: Sequence[Encoded],
    stream: Sequence[Batch],
    find: Callable[..., Array],
    params: Any,
    file: Path,
) -> PerText:
    """log P(z ≠ 0) of a run, nats, (L, T) for every text.

    find: (model's parameters, probe's, inputs) -> (L, B, T), jitted
    """

    def make() -> dict[str, np.ndarray]:
        return {"log_keep": joined(texts, stream, [find(*params, b.inputs) for b in stream])}

    return split(texts, load_or_make(file, make)["log_keep"])


def split(texts: Sequence[Encoded], array: np.ndarray) -> PerText:
    """The inverse of `joined`."""
    ends = np.cumsum([len(text.tokens) for text in texts])
    return np.split(array, ends[:-1], axis=1)
