"""How long words are kept: until which layer, and which words and groups of them the longest."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffmask_jax.analysis.bootstrap import mean_interval


def let_go(keep: Float[np.ndarray, "L T"]) -> Int[np.ndarray, " T"]:
    """The layer from which on no layer keeps a token (P(z ≠ 0) > ½), counted from 0.

    0 for a token that no layer keeps, L for one that the last layer keeps. Where later layers keep
    no token that an earlier one has dropped, as for masked inputs, it is the layer that drops it.
    """
    kept = keep > 0.5
    behind = np.argmax(kept[::-1], axis=0)  # layers after the last one that keeps it
    return np.where(kept.any(axis=0), len(keep) - behind, 0)


class Kept(NamedTuple):
    """How long the tokens of one name are kept.

    tokens, texts: how many there are, and in how many texts
    mean: of their numbers of layers; low, high: its interval at 95%, texts resampled
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
    """The tokens of each name, those that are kept longest first; of equals, by the alphabet.

    names, texts, layers: of every token its name, the number of its text, and by how many layers
      it is kept.
    least: in how many texts a name must occur to be there.

    Raises: ValueError if the three are not of one length.
    """
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, text, value in zip(names, texts, layers, strict=True):
        found[name][text].append(value)
    enough = [(name, list(own.values())) for name, own in found.items() if len(own) >= least]
    # Those in as many texts one after the other, for they share their resamples.
    kept = [_kept(*one) for one in sorted(enough, key=lambda one: len(one[1]))]
    return sorted(kept, key=lambda group: (-group.mean, group.name))


def _kept(name: str, texts: list[list[float]]) -> Kept:
    counts = np.array([len(own) for own in texts], float)
    interval = mean_interval(np.array([sum(own) for own in texts], float), counts)
    return Kept(name, int(counts.sum()), len(texts), *map(float, interval))
