"""The sentences of the erasure experiment, and the exact search over each of them."""

import functools
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from diffmask_jax.analysis.gru_erasure import check_baseline, exact_search
from diffmask_jax.attribution.erasure import Divergence
from diffmask_jax.attribution.prefix_search import Optima, check_length, check_margin
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.runtime.plain_lines import EVERY, PlainLines
from diffmask_jax.runtime.settings import digest
from diffmask_jax.tasks.encoded_examples import encode_examples, gold_labels
from diffmask_jax.tasks.scoring import by_labels
from diffmask_jax.tasks.sst import SST
from diffmask_jax.training.classifier import evaluator
from experiments.common.resume import check_settings, load_or_make

CHUNK = 16  # sentences of one length that are searched and saved together
GROWTH = 1.4  # a search's cost per additional word piece, as on SST, where optima are small
SHORT = 14
VERSION = 1  # of the results: raise it to invalidate older ones


class Study(NamedTuple):
    """The sentences of one split that are short enough for an exact search.

    numbers: their numbers in the split
    baseline: replaces the embedding of a dropped word piece
    margin: the largest divergence of a feasible subset, in nats
    """

    model: Classifier
    encoded: list[Encoded]
    numbers: np.ndarray
    baseline: np.ndarray
    margin: float
    folder: Path

    @property
    def lengths(self) -> np.ndarray:
        """Word pieces of every sentence, [CLS] and [SEP] included."""
        return np.array([len(text.ids) for text in self.encoded])


class Bucket(NamedTuple):
    """Sentences of similar length, padded to the same, and their numbers in the study."""

    indices: np.ndarray
    inputs: TextInputs


def open_study(
    model: Classifier,
    split: str,
    places: Any,
    *,
    longest: int,
    margin: float,
    baseline: Path | None,
    folder: Path,
    sample: int | None = None,
) -> Study:
    """The sentences of at most `longest` word pieces.

    places: the places of the treebank
    baseline: an .npy file, None for zeros
    sample: only so many of the sentences, drawn at random, but always the same

    Raises: UserError if the model, the margin, the length or the baseline is unsuitable, or if the
        folder's results belong to another study.
    """
    check_margin(margin)
    check_length(longest)
    vector = _read_baseline(baseline, model.config.width)
    if model.network.layers != ("W",):
        raise UserError(
            f"{model.path} is not a GRU: make one with `diffmask finetune sst --model gru`"
        )
    if model.head.problem_type != SINGLE_LABEL.problem_type:
        raise UserError(f"{model.path} is a {model.head.problem_type}: the search needs classes")
    check_baseline(model.params, vector)
    encoded = model.encode(SST.read(places, split).texts, truncate=True)
    numbers = np.flatnonzero([len(text.ids) <= longest for text in encoded])
    if not len(numbers):
        raise UserError(f"no sentence of {split} has at most {longest} word pieces")
    if sample and sample < len(numbers):
        numbers = np.sort(np.random.default_rng(0).choice(numbers, sample, replace=False))
    settings = {
        "model": _digest(*jax.tree.leaves(model.params)),
        "sentences": _digest(*(encoded[i].ids for i in numbers)),
        "baseline": _digest(vector),
        "margin": margin,
        "version": VERSION,
    }
    check_settings(folder, settings)
    return Study(model, [encoded[i] for i in numbers], numbers, vector, margin, folder)


def accuracy_of(model: Classifier, split: str, places: Any) -> float:
    """The model's accuracy on all sentences of a split, of any length."""
    examples = SST.read(places, split)
    encoded = encode_examples(model, examples, truncate=True)
    scoring = by_labels(model, gold_labels(model, encoded))
    return evaluator(model, encoded.encoded, scoring)(model.params)["accuracy"]


def search_all(study: Study) -> tuple[list[Optima], float]:
    """The optima of every sentence, and the seconds of search, including those of earlier calls.

    Shorter sentences come first. The result of each chunk is saved; a stopped search continues
    after the last one.
    """
    optima: dict[int, Optima] = {}
    seconds: dict[int, list[float]] = {}  # by length, one per sentence
    waiting = Counter(study.lengths.tolist())
    shape = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
    bar = tqdm(
        total=len(study.encoded), desc="exact search", bar_format=shape, disable=None, leave=False
    )
    with bar:
        lines = PlainLines(bar, EVERY)
        for name, chosen in _chunks(study.lengths):
            tokens = np.stack([study.encoded[i].ids for i in chosen])
            file = study.folder / f"{name}.npz"
            result = load_or_make(file, functools.partial(_search, study, tokens))
            optima |= zip(chosen.tolist(), _unpack(result), strict=True)
            length, number = tokens.shape[1], len(chosen)
            seconds.setdefault(length, []).extend([float(result["seconds"]) / number] * number)
            waiting[length] -= number
            bar.update(number)
            left = estimate(seconds, waiting)
            bar.set_postfix_str(left)
            lines.say_if_due(f"exact search: {len(optima)} of {bar.total} sentences, {left}")
    total = sum(map(sum, seconds.values()))
    return [optima[i] for i in range(len(optima))], total


def estimate(seconds: dict[int, list[float]], waiting: Counter[int]) -> str:
    """How long the remaining lengths will take, estimated from the last four.

    There is no estimate before sentences of SHORT word pieces, since compiling dominates up to
    there.
    """
    done = sorted(seconds)[-4:]
    if done[-1] < SHORT:
        return "estimating"
    level = np.mean([np.log(np.mean(seconds[n])) - n * np.log(GROWTH) for n in done])
    left = sum(number * np.exp(level) * GROWTH**n for n, number in waiting.items())
    return f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"


def buckets(study: Study) -> Iterator[Bucket]:
    """All sentences, padded to the next multiple of four word pieces, but at least to 8."""
    lengths = study.lengths
    padded = np.minimum(np.maximum(8, -(-lengths // 4) * 4), lengths.max())
    for length in np.unique(padded):
        indices = np.flatnonzero(padded == length)
        yield Bucket(indices, batches.pad([study.encoded[i] for i in indices], int(length)))


def embed(
    model: Model, params: Params, inputs: TextInputs
) -> tuple[Float[Array, "B T D"], Divergence]:
    """The embedded sentences, and the divergence of the output with others in their place."""
    logits, (state,) = model.states(params, inputs)

    def divergence(masked: Float[Array, "B T D"]) -> Float[Array, " B"]:
        return model.family.divergence(logits, model.logits_from(params, inputs, masked, 0))

    return state, divergence


def _chunks(lengths: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for length in np.unique(lengths):
        members = np.flatnonzero(lengths == length)
        for number, start in enumerate(range(0, len(members), CHUNK)):
            yield f"search/{length:02}-{number:02}", members[start : start + CHUNK]


def _search(study: Study, tokens: np.ndarray) -> dict[str, np.ndarray]:
    start = time.perf_counter()
    optima = exact_search(study.model.params, tokens, study.baseline, study.margin)
    return {
        "kept": np.concatenate([optimum.kept for optimum in optima]),
        "divergence": np.concatenate([optimum.divergence for optimum in optima]),
        "optima": np.array([len(optimum.kept) for optimum in optima]),
        "covered": np.array([optimum.covered for optimum in optima]),
        "seconds": np.array(time.perf_counter() - start),
    }


def _unpack(result: dict[str, np.ndarray]) -> list[Optima]:
    ends = np.cumsum(result["optima"])[:-1]
    parts = (np.split(result[name], ends) for name in ("kept", "divergence"))
    return [Optima(*part) for part in zip(*parts, result["covered"].tolist(), strict=True)]


def _digest(*arrays: Any) -> str:
    """Identifies models and data sets."""
    return digest(np.asarray(array).tobytes() + b"|" for array in arrays)


def _read_baseline(file: Path | None, width: int) -> np.ndarray:
    if file is None:
        return np.zeros(width, np.float32)
    try:
        return np.asarray(np.load(file), np.float32)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{file} is not an array of numbers made by numpy.save ({error})"
        ) from error
