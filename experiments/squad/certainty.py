"""Do the answers of which the network is sure stay under masking, and which others change?"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis.bootstrap import Interval, grouped_interval


class Third(NamedTuple):
    """A third of the questions, by the probability of the unmasked network's answer.

    least, most: the probabilities of its answers lie between these
    top: the means of `OfGate.top`, over its questions alone
    """

    least: float
    most: float
    questions: int
    top: dict[str, Interval]


def thirds(
    values: Mapping[str, Float[np.ndarray, " N"]],
    probabilities: Float[np.ndarray, " N"],
    passages: Sequence[str],
) -> list[Third]:
    """The questions in three parts, the least sure answers first; in fewer if there are not three.

    values: for each question, by the name of the number
    """
    found = []
    for chosen in np.array_split(np.argsort(probabilities, kind="stable"), 3):
        if len(chosen):
            own, about = probabilities[chosen], [passages[at] for at in chosen]
            means = {name: grouped_interval(of[chosen], about) for name, of in values.items()}
            found.append(Third(float(own[0]), float(own[-1]), len(chosen), means))
    return found
