"""Every set of a short text's states, and what the game makes of each: how unique is the best?

The loss of a set S of T states at a layer is |S|/T + λ·D(S), what a deterministic gate pays there
(paper, section 2); λ is the multiplier that the game has come to.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from diffmask_jax.attribution.network_erasure import Within, judge_of
from diffmask_jax.game.model import Model, rows_of
from diffmask_jax.game.objective import Clean

BATCH = 256  # sets judged at once


class Place(NamedTuple):
    """Where one set stands among all sets of a text's states at one layer.

    kept, divergence (nats), loss: of the set
    best_kept, best_divergence, best_loss: of the set of the smallest loss
    away: the share of states in which the set differs from that one
    as_good: the number of sets whose loss is no larger than its own, which is one of them
    apart: the expected share of states in which two of those differ, drawn with replacement
    """

    kept: float
    divergence: float
    loss: float
    best_kept: float
    best_divergence: float
    best_loss: float
    away: float
    as_good: int
    apart: float


def all_sets(states: int) -> Bool[np.ndarray, "S T"]:
    """All 2ᵀ sets of T states; set number n keeps state t if bit t of n is 1."""
    return (np.arange(2**states)[:, None] >> np.arange(states)) & 1 == 1


def number_of(kept: Bool[np.ndarray, " T"]) -> int:
    """The number of a set in `all_sets`."""
    return int(np.sum(kept << np.arange(len(kept))))


def place(
    divergence: Float[np.ndarray, " S"], multiplier: float, kept: Bool[np.ndarray, " T"]
) -> Place:
    """Where a set stands. divergence: of all sets, nats. multiplier: λ."""
    sets, own = all_sets(len(kept)), number_of(kept)
    shares = sets.mean(axis=1)
    loss = shares + multiplier * divergence
    best = int(loss.argmin())
    good = loss <= loss[own]
    keeping = sets[good].mean(axis=0)  # of those, the share that keeps each state
    return Place(
        kept=float(shares[own]),
        divergence=float(divergence[own]),
        loss=float(loss[own]),
        best_kept=float(shares[best]),
        best_divergence=float(divergence[best]),
        best_loss=float(loss[best]),
        away=float((sets[own] != sets[best]).mean()),
        as_good=int(good.sum()),
        apart=float(np.mean(2 * keeping * (1 - keeping))),
    )


def divergences(
    model: Model, params: Any, clean: Clean, baseline: Float[Array, " D"], layer: int, states: int
) -> Float[np.ndarray, " S"]:
    """D of all sets of a text's first `states` states at a layer, nats.

    clean: the clean pass of that text alone, a batch of one, perhaps padded
    """
    sets = np.zeros((2**states, clean.inputs.valid.shape[1]), bool)
    sets[:, :states] = all_sets(states)
    found = []
    for start in range(0, len(sets), BATCH):
        batch = np.resize(sets[start : start + BATCH], (BATCH, sets.shape[1]))
        found.append(_judged(model, params, clean, baseline, layer, batch))
    return np.concatenate(jax.device_get(found))[: len(sets)]


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _judged(
    model: Model,
    params: Any,
    clean: Clean,
    baseline: Float[Array, " D"],
    layer: int,
    sets: Bool[Array, "N T"],
) -> Float[Array, " N"]:
    inputs = rows_of(clean.inputs, np.zeros(len(sets), int))
    judge = judge_of(
        lambda state: model.logits_from(params, inputs, state, layer),
        clean.states[layer][0],
        clean.logits,
        model.family,
        Within(model.family, 0.0),
        baseline,
    )
    return judge(sets).divergence
