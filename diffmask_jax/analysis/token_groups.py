"""How long the tokens of a group are kept: by sentiment label, by part of speech (Figures 4, 5)."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence, Set
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

from diffmask_jax.data.wordpieces import Encoded, locate

Values = Sequence[Float[np.ndarray, " _"]]  # a value for each piece of each sentence
Groups = Sequence[Sequence[str]]  # a group for each piece of each sentence
Sources = Sequence[Hashable]  # the source of each sentence: of a question, its passage


class Group(NamedTuple):
    """The tokens of one group: their number, mean and spread.

    deviation: the standard deviation of the tokens
    standard_error: that of the mean, NaN if all tokens of the group are of one source
    """

    name: str
    tokens: int
    mean: float
    deviation: float
    standard_error: float


class Difference(NamedTuple):
    """The mean difference, over sentences, of two kinds of tokens, and whether it is above zero.

    standard_error: that of the mean, NaN for one source
    p_value: one-sided
    sources: as many as are independent of each other, at most one a sentence
    """

    mean: float
    standard_error: float
    p_value: float
    sentences: int
    sources: int


def layers_kept(keep: Float[np.ndarray, "L T"]) -> Float[np.ndarray, " T"]:
    """Σ_ℓ P(z_ℓ ≠ 0): the expected number of layers that keep each token, from 0 to L."""
    return keep.sum(axis=0)


def piece_groups(encoded: Encoded, words: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """The group of each piece: its word's, or a special token's own text, such as `[CLS]`.

    Args:
      encoded: pieces of `words` joined by single blanks, whole or truncated.
      groups: the group of each word, such as its sentiment label or its part of speech.

    Raises:
      ValueError: `encoded` comes from another text, or there are more or fewer groups than words.
    """
    if len(groups) != len(words):
        raise ValueError(f"{len(groups)} groups for {len(words)} words")
    places = zip(encoded.tokens, locate(encoded, words).tolist(), strict=True)
    return tuple(groups[word] if word >= 0 else token for token, word in places)


def by_group(values: Values, groups: Groups, sources: Sources | None = None) -> dict[str, Group]:
    """The tokens of all sentences by group, the names in alphabetical order.

    The tokens of one source are not independent, so the standard error counts sources s with their
    n_s tokens of the group:  SE² = S/(S−1) · Σ_s (Σ_{t∈s} (x_t − mean))² / (Σ_s n_s)², which is
    the usual σ²/n where every source has one. sources: by default every sentence is its own.

    Raises: ValueError if there are not as many groups or sources as values.
    """
    found: dict[str, dict[Hashable, list[float]]] = defaultdict(lambda: defaultdict(list))
    sources = range(len(values)) if sources is None else sources
    for sentence, names, source in zip(values, groups, sources, strict=True):
        for value, name in zip(sentence.tolist(), names, strict=True):
            found[name][source].append(value)
    return {name: _group(name, list(found[name].values())) for name in sorted(found)}


def difference(
    values: Values,
    groups: Groups,
    sources: Sources | None = None,
    *,
    high: Set[str],
    low: Set[str],
) -> Difference:
    """Are the tokens of the groups `high` kept longer than those of `low`?

    Each sentence with tokens of both gives one difference, mean over `high` − mean over `low`, so
    that every sentence counts once, whatever its length, and the dependence of its tokens does not
    matter. The p-value is that of Wilcoxon's signed-rank test of the sources' mean differences, and
    the standard error counts sources as in `by_group`, by default the sentences.

    Raises: ValueError if no sentence has tokens of both, or there are not as many groups or sources
        as values.
    """
    found: dict[Hashable, list[float]] = defaultdict(list)
    sources = range(len(values)) if sources is None else sources
    for sentence, names, source in zip(values, groups, sources, strict=True):
        above, below = (
            [value for value, name in zip(sentence.tolist(), names, strict=True) if name in kind]
            for kind in (high, low)
        )
        if above and below:
            found[source].append(float(np.mean(above) - np.mean(below)))
    if not found:
        raise ValueError(f"no sentence has tokens of both {sorted(high)} and {sorted(low)}")
    differences, of_sources = list(found.values()), [np.mean(own) for own in found.values()]
    # The test leaves out differences of zero, and so may have none to test.
    p_value = wilcoxon(of_sources, alternative="greater").pvalue if any(of_sources) else 1.0
    every = np.concatenate(differences)
    error = _standard_error(differences)
    return Difference(float(every.mean()), error, float(p_value), len(every), len(differences))


def _group(name: str, sources: list[list[float]]) -> Group:
    tokens = np.concatenate(sources)
    error = _standard_error(sources)
    return Group(name, len(tokens), float(tokens.mean()), float(tokens.std()), error)


def _standard_error(sources: list[list[float]]) -> float:
    """That of the mean of all values, those of one source depending on each other."""
    every, count = np.concatenate(sources), len(sources)
    if count == 1:
        return math.nan
    sums = np.array([sum(own) - len(own) * every.mean() for own in sources])
    return float(math.sqrt(count / (count - 1) * np.sum(sums**2)) / len(every))
