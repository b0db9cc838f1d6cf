"""A page of a few toy examples: the digits that the network needs at each of its states."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.game.objective import Clean, masked_logits
from diffmask_jax.models.toy import TOY
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.page import Entry, page
from diffmask_jax.render.replay import Replay
from diffmask_jax.render.spelling import spell
from diffmask_jax.runtime.files import write_atomically
from experiments.toy.setup import GAME

SHOWN, SHORTEST = 10, 6  # the number of sequences, and the least number of digits of each


def write_page(
    file: Path,
    params: Any,
    probes: tuple[Any, ...],
    clean: Clean,
    keep: Float[Array, "L N T"],
) -> None:
    """Write a page of the first long enough sequences of one seed, replayed at each state.

    probes: for each state the one that was trained on it
    keep: the keep probabilities by that probe
    """
    lengths = np.asarray(clean.inputs.valid.sum(axis=1))
    chosen = np.flatnonzero(lengths >= SHORTEST)[:SHOWN]
    some, kept = jax.tree.map(lambda array: array[chosen], clean), np.asarray(keep[:, chosen])
    answers = np.stack(
        [
            np.asarray(_replayed(params, probe, some, keep[layer, chosen], layer=layer), np.float64)
            for layer, probe in enumerate(probes)
        ]
    )
    entries = [_entry(row, some, kept[:, row], answers[:, row]) for row in range(len(chosen))]
    write_atomically(file, page(entries, "Which digits the counting network needs"))


@functools.partial(jax.jit, static_argnames="layer")
def _replayed(
    params: Any, probe: Any, clean: Clean, keep: Float[Array, "N T"], layer: int
) -> Float[Array, "N 3"]:
    """P(yes), D in nats and whether the prediction stays, from only what is kept of one state."""
    family, gate = TOY.family, (keep > 0.5).astype(jnp.float32)
    logits = masked_logits(GAME, params, probe, clean, gate, layer)
    stays = family.agreement(family.prediction(clean.logits), family.prediction(logits))
    told = family.outputs(logits)[:, 0], family.divergence(clean.logits, logits), stays
    return jnp.stack(told, axis=1)


def _entry(
    row: int, clean: Clean, keep: Float[np.ndarray, "L T"], told: Float[np.ndarray, "L 3"]
) -> Entry:
    """The entry of one sequence. told: `_replayed` at each state."""
    length = int(np.asarray(clean.inputs.valid)[row].sum())
    n, m = np.asarray(clean.inputs.query)[row].tolist()
    digits = [str(digit) for digit in np.asarray(clean.inputs.digits)[row, :length].tolist()]
    whole, (shares, divergence, stays) = float(TOY.family.outputs(clean.logits)[row, 0]), told.T
    yes = whole > 0.5
    heatmap = make_heatmap(
        title=f"More {n}s than {m}s?",
        caption=f"predicted {_answer(whole)}",
        tokens=digits,
        rows=TOY.layers,
        values=keep[:, :length],
    )
    replay = Replay(
        whole=_answer(whole),
        answers=tuple(map(_answer, shares.tolist())),
        kept=tuple((keep[:, :length] > 0.5).sum(axis=1).tolist()),
        tokens=length,
        divergence=tuple(divergence.tolist()),
        turned=tuple((stays < 1).tolist()),
        probability=tuple((shares if yes else 1 - shares).tolist()),
        whole_probability=whole if yes else 1 - whole,
    )
    places = [(2 * at, 2 * at + 1) for at in range(length)]
    return Entry(heatmap, (spell(" ".join(digits), digits, places),), replay)


def _answer(share: float) -> str:
    """P(yes) in words."""
    said, probability = ("yes", share) if share > 0.5 else ("no", 1 - share)
    return f"“{said}” with probability {probability:.2f}"
