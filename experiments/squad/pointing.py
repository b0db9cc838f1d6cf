"""Figure 2, counted: in which text the tokens lie that a method points to most."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis import top_tokens
from diffmask_jax.analysis.bootstrap import Interval, grouped_interval
from experiments.squad.stages import Answers
from experiments.squad.study import Study

TOP = 10
"""The number of tokens of a question and its passage that a method points to most."""


class Figure2(NamedTuple):
    """`TopShares` of the ten top tokens, means over questions with their intervals.

    shares: for each method
    chance: for all tokens
    over_chance: each method's minus those of all tokens, paired by question
    diffmask_over: DiffMask's minus each method's, paired by question; empty without an input probe
    """

    shares: dict[str, Interval]
    chance: Interval
    over_chance: dict[str, Interval]
    diffmask_over: dict[str, Interval]


def figure2(
    study: Study, answers: Answers, found: dict[str, list[Float[np.ndarray, " _"]]]
) -> Figure2:
    """Where each method's top tokens are. found: attributions by method, ours as "diffmask"."""
    pairs = list(zip(study.parts, map(tuple, answers.spans.tolist()), strict=True))
    chance = np.array([top_tokens.shares_by_chance(*pair) for pair in pairs])
    shares = {
        name: np.array(
            [
                top_tokens.top_shares(attribution, parts, span, TOP)
                for attribution, (parts, span) in zip(attributions, pairs, strict=True)
            ]
        )
        for name, attributions in found.items()
    }
    interval = functools.partial(grouped_interval, groups=study.passages)
    ours = shares.get("diffmask")
    others = {} if ours is None else {n: ours - of for n, of in shares.items() if n != "diffmask"}
    return Figure2(
        {name: interval(of) for name, of in shares.items()},
        interval(chance),
        {name: interval(of - chance) for name, of in shares.items()},
        {name: interval(apart) for name, apart in others.items()},
    )
