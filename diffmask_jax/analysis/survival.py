"""Up to which layer words are kept, and which words and groups of words are kept the longest."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffmask_jax.analysis.bootstrap import mean_interval


def let_go(keep: Float[np.ndarray, "L T"]) -> Int[np.ndarray, " T"]:
    """The first layer from which on no layer keeps a token (P(z ≠ 0) > ½), counted from 0.

    0 for a token that no layer keeps, L for one that the last layer keeps. If no layer keeps a
    token that an earlier one has dropped, as for masked inputs, it is the layer that drops it.
    """
    kept = keep > 0.5
    behind = np.argmax(kept[::-1], axis=0)  # layers after the last one that keeps it
    return np.where(kept.any(axis=0), len(keep) - behind, 0)


class Kept(NamedTuple):
    """How long the tokens of one name are kept.

    tokens, texts: the number of such tokens, and of texts with one (of questions: of passages)
    mean: the mean number of layers that keep them
    low, high: its 95% interval over texts; NaN for a single one
    """

    name: str
    tokens: int
    texts: int
    mean: float
    low: float
    high: float


def by_name(
    names: Sequence[str], texts: Sequence[int], layers: Sequence[float], least: int = 1
) -> list[Kept]:
    """How long the tokens of each name are kept, the longest first; ties in alphabetical order.

    names, texts, layers: for every token its name, the number of its text, and the number of layers
        that keep it
    least: the number of texts in which a name must occur to be listed

    Raises: ValueError if the three are not of one length.
    """
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, text, value in zip(names, texts, layers, strict=True):
        found[name][text].append(value)
    enough = [(name, list(own.values())) for name, own in found.items() if len(own) >= least]
    # Names that occur in equally many texts follow one another, since they share resamples.
    kept = [_kept(*one) for one in sorted(enough, key=lambda one: len(one[1]))]
    return sorted(kept, key=lambda group: (-group.mean, group.name))


def _kept(name: str, texts: list[list[float]]) -> Kept:
    counts = np.array([len(own) for own in texts], float)
    interval = mean_interval(np.array([sum(own) for own in texts], float), counts)
    return Kept(name, int(counts.sum()), len(texts), *map(float, interval))
