"""Do the answers of which the network is sure stay under masking, and those that it doubts?"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis.bootstrap import Interval, grouped_interval


class Third(NamedTuple):
    """A third of the questions, by the probability of the unmasked network's answer.

    least, most: the smallest and the largest of its answers' probabilities
    questions: how many it has
    means: the mean of each number over them, with its interval
    """

    least: float
    most: float
    questions: int
    means: dict[str, Interval]


def thirds(
    values: Mapping[str, Float[np.ndarray, " N"]],
    probabilities: Float[np.ndarray, " N"],
    passages: Sequence[str],
) -> list[Third]:
    """The questions in three parts of one size, the least sure answers first; of fewer than three
    questions, each by itself.

    values: each number of every question
    probabilities: of the unmasked network's answers; those alike are in the order of the questions
    passages: what each question is about; an interval draws those about one together
    """
    found = []
    for chosen in np.array_split(np.argsort(probabilities, kind="stable"), 3):
        if len(chosen):
            own, about = probabilities[chosen], [passages[at] for at in chosen]
            means = {name: grouped_interval(of[chosen], about) for name, of in values.items()}
            found.append(Third(float(own[0]), float(own[-1]), len(chosen), means))
    return found
