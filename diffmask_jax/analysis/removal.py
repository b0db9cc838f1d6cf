"""Faithfulness of a ranking of tokens: what remains of a decision as they are removed one by one.

v(S) ∈ [0, 1] is the probability that the network, given only the tokens S of a text x, gives to the
class it decided on for x. An attribution is judged only by the order r it puts the tokens in, the
most important one first; x∖A is x without the tokens A.

- comprehensiveness of the k first: v(x) − v(x∖r_{1:k}), high where they were needed;
- sufficiency of the k first: v(x) − v(r_{1:k}), low where they are enough
  (DeYoung et al. 2020, equations 1 and 2);
- area over the curve: (1/N)·Σ_{i=1}^{N} v(x) − v(x∖r_{1:i}); of sufficiency, the same for the
  reversed order, the least important token being removed first;
- normalised: (area − min) / (max − min) with the smallest and largest area of any order of that
  text's tokens (Edin et al. 2024). Networks differ in how far their probabilities fall whatever is
  removed: areas compare methods on one network, and only normalised areas compare networks.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Value = Callable[[Bool[np.ndarray, "R T"]], Float[np.ndarray, " R"]]
"""R sets of tokens of one text -> v of each, in [0, 1]."""

Order = Int[np.ndarray, " N"]
"""The positions of a text's removable tokens, the most important first."""

Beam = dict[bytes, float]
"""The tokens that are left, a byte each -> the largest ±sum of drops on the way to them."""


class Curves(NamedTuple):
    """v after 0, 1, …, N removals, from the most important token on, and from the least."""

    important_first: Float[np.ndarray, " N+1"]
    important_last: Float[np.ndarray, " N+1"]


class Bounds(NamedTuple):
    """The smallest and the largest area over the curve of any order of a text's tokens."""

    least: float
    most: float


class Measures(NamedTuple):
    """The measures of an order on one text. Higher comprehensiveness is better, lower sufficiency.

    sufficiency, comprehensiveness: of as many tokens as are kept
    …_area: the area over the curve
    …_normalised: the area normalised by the best and worst orders; NaN where all orders have the
        same area, or where none were searched
    """

    sufficiency: float
    comprehensiveness: float
    sufficiency_area: float
    comprehensiveness_area: float
    sufficiency_normalised: float
    comprehensiveness_normalised: float


def order_of(attribution: Float[np.ndarray, " T"], removable: Bool[np.ndarray, " T"]) -> Order:
    """The removable tokens by falling attribution; ties in the order of the text."""
    places = np.flatnonzero(removable)
    return places[np.argsort(-attribution[places], kind="stable")]


def without_first(order: Order, tokens: int) -> Bool[np.ndarray, "N+1 T"]:
    """The tokens of a text that are left when none, the first, the first two, … are removed."""
    left = np.ones((len(order) + 1, tokens), bool)
    for number, place in enumerate(order, start=1):
        left[number:, place] = False
    return left


def curves_of(value: Value, order: Order, tokens: int) -> Curves:
    """v along an order and along its reverse (`Curves`)."""
    ways = [without_first(order, tokens), without_first(order[::-1], tokens)]
    return Curves(*np.split(value(np.concatenate(ways)), 2))


def area(curve: Float[np.ndarray, " _"]) -> float:
    """(1/N)·Σ_{i=1}^{N} v(x) − v(x∖r_{1:i}); 0 where nothing can be removed."""
    return float(np.mean(curve[0] - curve[1:])) if len(curve) > 1 else 0.0


def measures_of(curves: Curves, kept: int, bounds: Bounds | None) -> Measures:
    """The measures of an order whose first `kept` tokens are the explanation.

    Raises: ValueError if there are fewer tokens.
    """
    down, up = curves
    if not 0 <= kept < len(down):
        raise ValueError(f"{kept} of {len(down) - 1} tokens cannot be kept")
    areas = area(up), area(down)
    normalised = [np.nan if bounds is None else normalise(one, bounds) for one in areas]
    return Measures(
        float(up[0] - up[len(up) - 1 - kept]), float(down[0] - down[kept]), *areas, *normalised
    )


def normalise(one: float, bounds: Bounds) -> float:
    """(area − least) / (most − least); NaN where all orders have the same area."""
    width = bounds.most - bounds.least
    return (one - bounds.least) / width if width > 0 else float("nan")


def bounds_of(
    value: Value, removable: Bool[np.ndarray, " T"], width: int, seen: Sequence[Curves] = ()
) -> Bounds:
    """The least and the largest area over all orders, by two beam searches over sets.

    An area is a sum over the sets that an order passes through, so that of all orders which begin
    with the same tokens only the best need be followed. A beam keeps `width` sets: C(N, ⌊N/2⌋)
    keep all, and the search is exact; with fewer the true bounds may lie further out, so the areas
    of given curves are taken into account, too. About N²·width sets are judged, those of both
    beams together.
    """
    places = np.flatnonzero(removable)
    whole = np.ones((1, len(removable)), bool)
    full = value(whole)[0]
    beams: dict[int, Beam] = {sign: {whole.tobytes(): 0.0} for sign in (1, -1)}
    for _ in places:
        reached = {sign: _one_fewer(beam, places) for sign, beam in beams.items()}
        sets = list(dict.fromkeys(itertools.chain(*reached.values())))
        drops = full - value(np.array([np.frombuffer(left, bool) for left in sets]))
        drop_of = dict(zip(sets, drops.tolist(), strict=True))
        for sign, beam in reached.items():
            totals = {left: total + sign * drop_of[left] for left, total in beam.items()}
            best = sorted(totals, key=totals.__getitem__, reverse=True)[:width]
            beams[sign] = {left: totals[left] for left in best}
    ends = [area(curve) for curves in seen for curve in curves]
    ends += [sign * max(beam.values()) / max(len(places), 1) for sign, beam in beams.items()]
    return Bounds(min(ends), max(ends))


def _one_fewer(beam: Beam, places: Int[np.ndarray, " N"]) -> Beam:
    """The sets with one token fewer, with the best sum on the way to each."""
    reached: Beam = {}
    for key, total in beam.items():
        left = np.frombuffer(key, bool)
        for place in places[left[places]]:
            fewer = left.copy()
            fewer[place] = False
            reached[fewer.tobytes()] = max(total, reached.get(fewer.tobytes(), -np.inf))
    return reached
