"""Confidence intervals of means and of changes in F1 or accuracy: the bootstrap over examples."""

import functools
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.special import ndtr, stdtrit

RESAMPLES, SEED = 2000, 0
AT_ONCE = 20  # resamples; while they are drawn, those of a million examples take 160 MB
FEW = 100_000  # examples whose resamples are kept for the next mean: 200 MB


class Change(NamedTuple):
    """A score before and after masking, the change, and its 95% interval.

    All are in [0, 1], or differences of such. low, high: the 2.5th and the 97.5th percentile of the
    change over resampled data sets.
    """

    before: float
    after: float
    change: float
    low: float
    high: float

    @property
    def may_be_no_loss(self) -> bool:
        """Whether the interval reaches 0 from below, or lies above it."""
        return self.high >= 0


class Interval(NamedTuple):
    """A mean and its 95% interval; each a number, or an array of numbers.

    low, high: NaN for a mean of a single example, which has none
    """

    mean: Float[np.ndarray, "..."]
    low: Float[np.ndarray, "..."]
    high: Float[np.ndarray, "..."]


def mean_interval(
    sums: Float[np.ndarray, "N ..."],
    counts: Float[np.ndarray, "N ..."] | None = None,
) -> Interval:
    """Σ_n s_n / Σ_n c_n over N examples, and its interval over resampled examples.

    Example n has c_n values (1 by default) whose sum is s_n: values of one example are not
    independent, and are drawn together. Differences of two methods on the same examples,
    s_n = a_n − b_n, give the paired bootstrap. Resamples without any value are left out.

    The percentiles are expanded (Hesterberg 2015): for N examples with values they are
    Φ(±√(N/(N−1))·t), t being the 97.5th of Student's distribution with N − 1 degrees of freedom.
    The 2.5th and the 97.5th, their limit, hold a mean of six examples in 87% of cases, not in 95%.

    Raises: ValueError if there is no example, or no value at all.
    """
    counts = np.ones_like(sums) if counts is None else counts
    if not len(sums) or not (counts.sum(axis=0) > 0).all():
        raise ValueError("there is nothing to take a mean of")
    drawn = _kept(len(sums)) if len(sums) <= FEW else _drawn(np.random.default_rng(SEED), len(sums))
    summed = [
        [np.tensordot(some.astype(np.float64), part, axes=1) for part in (sums, counts)]
        for some in drawn
    ]
    total, number = (np.concatenate(parts) for parts in zip(*summed, strict=True))
    means = np.where(number > 0, total / np.where(number > 0, number, 1), np.nan)
    examples = np.sum(counts > 0, axis=0)
    bounds = np.full((2, *examples.shape), np.nan)
    for size in np.unique(examples[examples > 1]):
        own, tail = examples == size, _tail(int(size))
        bounds[:, own] = np.nanquantile(means[:, own], [tail, 1 - tail], axis=0)
    return Interval(sums.sum(axis=0) / counts.sum(axis=0), *bounds)


def _tail(size: int) -> float:
    """The share of resampled means to either side of the interval of a mean of `size` examples."""
    return float(ndtr(-np.sqrt(size / (size - 1)) * stdtrit(size - 1, 0.975)))


def grouped_interval(values: Float[np.ndarray, "N ..."], groups: Sequence[Hashable]) -> Interval:
    """The mean of N values, those of a group drawn together: questions about one passage, say.

    Raises: ValueError if there is no value.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(numbers), *values.shape[1:]))
    counts = np.zeros_like(sums)
    for value, group in zip(values, groups, strict=True):
        sums[numbers[group]] += value
        counts[numbers[group]] += 1
    return mean_interval(sums, counts)


@functools.lru_cache(maxsize=1)
def _kept(size: int) -> list[UInt8[np.ndarray, "S N"]]:
    """The resamples of means over `size` examples."""
    return list(_drawn(np.random.default_rng(SEED), size))


def _drawn(rng: np.random.Generator, size: int) -> Iterator[UInt8[np.ndarray, "S N"]]:
    """How often each example is in each resample, a few resamples at a time.

    That is once on average and hardly ever ten times: a byte holds it.
    """
    for _ in range(RESAMPLES // AT_ONCE):
        yield rng.multinomial(size, np.full(size, 1 / size), AT_ONCE).astype(np.uint8)


Confusions = Float[np.ndarray, "R C C"]
"""Confusion matrices of R data sets: how often each gold class was predicted as each class."""


def macro_f1(confusions: Confusions) -> Float[np.ndarray, " R"]:
    """Mean over all classes of 2·TP / (2·TP + FP + FN); 0 for a class without gold labels."""
    return _f1(confusions).mean(axis=1)


def macro_f1_to_highest(confusions: Confusions) -> Float[np.ndarray, " R"]:
    """Like `macro_f1`, but over the classes up to the highest that is gold or predicted.

    So the authors' code does, whose batches need not have an example of every class.
    """
    occurs = confusions.sum(axis=1) + confusions.sum(axis=2) > 0
    highest = occurs.shape[1] - np.argmax(occurs[:, ::-1], axis=1)
    return _f1(confusions).sum(axis=1) / highest


def _f1(confusions: Confusions) -> Float[np.ndarray, "R C"]:
    right = np.einsum("rcc->rc", confusions)
    gold, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    f1 = 2 * right / np.maximum(gold + predicted, 1)
    return np.where(gold > 0, f1, 0.0)


def accuracy(confusions: Confusions) -> Float[np.ndarray, " R"]:
    """The share of examples that are predicted correctly."""
    right = np.einsum("rcc->r", confusions)
    return right / confusions.sum(axis=(1, 2))


def change(
    score: Callable[[Confusions], Float[np.ndarray, " R"]],
    original: Int[np.ndarray, " N"],
    masked: Int[np.ndarray, "K N"],
    gold: Int[np.ndarray, " N"],
    classes: int,
    groups: Sequence[Int[np.ndarray, " _"]] | None = None,
) -> Change:
    """The change of a score, averaged over K ways of masking, and its interval.

    score: of confusion matrices, such as `macro_f1`. The same examples are drawn for all K and for
    the unmasked predictions, so that the interval includes what the K have in common. groups: the
    examples of each group, which are drawn and scored by themselves; the score is the mean over
    groups. By default there is one group.
    """
    rng, befores, afters = np.random.default_rng(SEED), [], []
    for members in groups or [np.arange(len(gold))]:
        cells = [_cells(gold[members], row[members], classes) for row in (original, *masked)]
        drawn = itertools.chain([np.ones((1, len(members)), np.uint8)], _drawn(rng, len(members)))
        scores = [[score(_confusions(some, of)) for of in cells] for some in drawn]
        before, *after = np.concatenate(scores, axis=1)
        befores.append(before)
        afters.append(np.mean(after, axis=0))
    before, after = np.mean(befores, axis=0), np.mean(afters, axis=0)
    low, high = np.quantile(after[1:] - before[1:], [0.025, 0.975])
    return Change(
        float(before[0]), float(after[0]), float(after[0] - before[0]), float(low), float(high)
    )


def _cells(
    gold: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int
) -> Float[np.ndarray, "N C C"]:
    """1 at each example's gold and predicted class, 0 elsewhere."""
    one_hot = np.eye(classes**2, dtype=np.float32)[gold * classes + predicted]
    return one_hot.reshape(-1, classes, classes)


def _confusions(weights: UInt8[np.ndarray, "R N"], cells: Float[np.ndarray, "N C C"]) -> Confusions:
    return np.tensordot(weights.astype(np.float32), cells, axes=1)
