"""Measuring a run's probe on a data set; results are kept in files."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.analysis import faithfulness
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import Game, clean_pass, log_keep_everywhere
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import json_files
from diffmask_jax.training import run_folder
from experiments.common.resume import load_or_make
from experiments.common.tokens import joined

PerText = list[np.ndarray]
"""An array (L, T) per text."""


class Programs(NamedTuple):
    """Jitted functions of a batch, whose first arguments are the parameters of model and probe.

    log_keep: (…, inputs) -> log P(z ≠ 0), (L, B, T)
    sampled, thresholded: (…, key, `faithfulness.Numbered`) -> the outcome with such gates
    """

    log_keep: Callable[..., Any]
    sampled: Callable[..., Any]
    thresholded: Callable[..., Any]


def programs(game: Game) -> Programs:
    """The programs of a game; runs with the same gate play the same game, and share them."""

    @jax.jit
    def find(params: Any, probe_params: Any, inputs: Any) -> Float[Array, "L B T"]:
        return log_keep_everywhere(game, probe_params, clean_pass(game.model, params, inputs))

    sampled, thresholded = (
        jax.jit(functools.partial(faithfulness.outcome_of, game, gates))
        for gates in (faithfulness.sampled, faithfulness.thresholded)
    )
    return Programs(find, sampled, thresholded)


def explainers_of(model: Classifier, folders: Sequence[Path]) -> list[Explainer]:
    """The explainers of some runs on one model, which is loaded once for all."""
    return [
        Explainer(run_folder.load_config(folder), model, run_folder.load_probe(folder)[0])
        for folder in folders
    ]


def curves(folders: Sequence[Path]) -> dict[str, list[dict[str, float]]]:
    """The validations of every run."""
    return {
        folder.name: json_files.read_lines(folder / run_folder.VALIDATIONS, {"step": int})
        for folder in folders
    }


def outcome(
    stream: Sequence[Batch], of_batch: Callable[..., Any], params: Any, file: Path
) -> Outcome:
    """The outcome of masking with a run's gates, for every text at every layer.

    of_batch: a jitted `faithfulness.outcome_of` of a game and a kind of gates
    params: the parameters of the model and of the probe

    Raises: UserError if the file is damaged, or lacks what older versions did not write.
    """

    def make() -> dict[str, np.ndarray]:
        evaluate = functools.partial(of_batch, *params)
        return faithfulness.measure(evaluate, stream, jax.random.key(0))._asdict()

    arrays = load_or_make(file, make)
    if not arrays.keys() >= set(Outcome._fields):
        raise UserError(f"{file} is of an older version: delete it, and it is computed again")
    return Outcome(**arrays)


def log_keep(
    texts: Sequence[Encoded],
    stream: Sequence[Batch],
    find: Callable[..., Array],
    params: Any,
    file: Path,
) -> PerText:
    """log P(z ≠ 0) of a run, nats, (L, T) for every text.

    find: (parameters of the model, of the probe, inputs) -> (L, B, T), jitted
    """

    def make() -> dict[str, np.ndarray]:
        return {"log_keep": joined(texts, stream, [find(*params, b.inputs) for b in stream])}

    return split(texts, load_or_make(file, make)["log_keep"])


def deviations(log_keep: Sequence[PerText]) -> Float[np.ndarray, " L"]:
    """Standard deviation of each P(z ≠ 0) over two or more runs, by layer, averaged over tokens."""
    stacked = np.exp(np.stack([np.concatenate(run, axis=1) for run in log_keep]))
    found: Float[np.ndarray, " L"] = np.std(stacked, axis=0, ddof=1).mean(axis=1)
    return found


def split(texts: Sequence[Encoded], array: np.ndarray) -> PerText:
    """The inverse of `joined`."""
    ends = np.cumsum([len(text.tokens) for text in texts])
    return np.split(array, ends[:-1], axis=1)
