"""How long the tokens of a group are kept: by sentiment label, by part of speech (Figures 4, 5)."""

import math
from collections import defaultdict
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

from diffmask_jax.data.wordpieces import Encoded, locate

Values = Sequence[Float[np.ndarray, " _"]]  # a value for each piece of each sentence
Groups = Sequence[Sequence[str]]  # a group for each piece of each sentence


class Group(NamedTuple):
    """The tokens of one group: their number, mean and spread.

    deviation: the standard deviation of the tokens
    standard_error: that of the mean, NaN if all tokens of the group are in one sentence
    """

    name: str
    tokens: int
    mean: float
    deviation: float
    standard_error: float


class Difference(NamedTuple):
    """The mean difference, over sentences, of two kinds of tokens, and whether it is above zero.

    standard_error: that of the mean, NaN for one sentence
    p_value: one-sided
    """

    mean: float
    standard_error: float
    p_value: float
    sentences: int


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


def by_group(values: Values, groups: Groups) -> dict[str, Group]:
    """The tokens of all sentences by group, the names in alphabetical order.

    The tokens of one sentence are not independent, so the standard error counts sentences s with
    their n_s tokens of the group:  SE² = S/(S−1) · Σ_s (Σ_{t∈s} (x_t − mean))² / (Σ_s n_s)²,
    which is the usual σ²/n where every sentence has one.

    Raises: ValueError if there are not as many groups as values.
    """
    found: dict[str, list[list[float]]] = defaultdict(list)
    for sentence, names in zip(values, groups, strict=True):
        split = defaultdict(list)
        for value, name in zip(sentence.tolist(), names, strict=True):
            split[name].append(value)
        for name, members in split.items():
            found[name].append(members)
    return {name: _group(name, found[name]) for name in sorted(found)}


def difference(values: Values, groups: Groups, *, high: Set[str], low: Set[str]) -> Difference:
    """Are the tokens of the groups `high` kept longer than those of `low`?

    Each sentence with tokens of both gives one difference, mean over `high` − mean over `low`, so
    that every sentence counts once, whatever its length, and the dependence of its tokens does not
    matter. The p-value is that of Wilcoxon's signed-rank test of these differences.

    Raises: ValueError if no sentence has tokens of both, or there are not as many groups as values.
    """
    differences = []
    for sentence, names in zip(values, groups, strict=True):
        above, below = (
            [value for value, name in zip(sentence.tolist(), names, strict=True) if name in kind]
            for kind in (high, low)
        )
        if above and below:
            differences.append(np.mean(above) - np.mean(below))
    count = len(differences)
    if not count:
        raise ValueError(f"no sentence has tokens of both {sorted(high)} and {sorted(low)}")
    error = np.std(differences, ddof=1) / math.sqrt(count) if count > 1 else math.nan
    # The test leaves out differences of zero, and so may have none to test.
    p_value = wilcoxon(differences, alternative="greater").pvalue if any(differences) else 1.0
    return Difference(float(np.mean(differences)), float(error), float(p_value), count)


def _group(name: str, sentences: list[list[float]]) -> Group:
    tokens, count = np.concatenate(sentences), len(sentences)
    mean = tokens.mean()
    error = math.nan
    if count > 1:
        sums = np.array([sum(members) - len(members) * mean for members in sentences])
        error = math.sqrt(count / (count - 1) * np.sum(sums**2)) / len(tokens)
    return Group(name, len(tokens), float(mean), float(tokens.std()), error)
