"""What may be said of every subset of a few tokens, drawn at random: nothing need be monotone."""

import itertools

import jax.numpy as jnp
import numpy as np

from diffmask_jax.attribution.judging import Judged

T = 6
SUBSETS = np.array(list(itertools.product([False, True], repeat=T)))


def number_of(kept) -> int:
    """Which of SUBSETS it is."""
    return int(kept @ (2 ** np.arange(T - 1, -1, -1)))


def judge_by(divergences, feasible):
    """What two tables say, with an entry for each of SUBSETS."""

    def judge(sets):
        numbers = sets @ (2 ** jnp.arange(T - 1, -1, -1))
        return Judged(divergences[numbers], feasible[numbers])

    return judge


def problem(seed: int):
    """Tables, tokens and tokens always kept, drawn at random: few sets are feasible, or many."""
    rng = np.random.default_rng(seed)
    divergences = rng.exponential(size=len(SUBSETS)).astype(np.float32)
    feasible = rng.random(len(SUBSETS)) < rng.choice([0.02, 0.1, 0.5])
    valid = np.arange(T) < rng.integers(1, T + 1)
    always = rng.random(T) < rng.choice([0, 0.3])
    return divergences, feasible, valid, always
