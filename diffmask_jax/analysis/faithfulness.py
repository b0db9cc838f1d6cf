"""Does the model decide alike when what a probe would drop is dropped? (paper, section 3.2)"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.data.batches import Batch
from diffmask_jax.game import probes
from diffmask_jax.game.masking import mean_over_valid
from diffmask_jax.game.objective import Game, clean_pass, masked_logits
from diffmask_jax.game.probes import Votes


class Outcome(NamedTuple):
    """What masking did to every example at every layer; predictions are class numbers."""

    masked: Float[np.ndarray, "L N"]
    divergence: Float[np.ndarray, "L N"]
    prediction: Int[np.ndarray, "L N"]
    original: Int[np.ndarray, " N"]


Gates = Callable[[Game, Key[Array, ""], Votes], Votes]


def sampled(game: Game, key: Key[Array, ""], votes: Votes) -> Votes:
    """Gates as in training: one draw each."""
    return probes.sample_gates(game.probe, key, votes)


def thresholded(game: Game, key: Key[Array, ""], votes: Votes) -> Votes:
    """Gates of 0 or 1: a position is kept where its keep probability is above ½."""
    logs = probes.log_keep_probabilities(game.probe, votes)
    return tuple((log > math.log(0.5)).astype(log.dtype) for log in logs)


def outcome_of(
    game: Game, gates: Gates, model_params: Any, probe_params: Any, key: Key[Array, ""], inputs: Any
) -> tuple[Array, Array, Array, Array]:
    """The fields of `Outcome` for one batch, with every layer's gate in turn; one program."""
    clean = clean_pass(game, model_params, inputs)
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    drawn = gates(game, key, votes)

    def at(layer: Int[Array, ""]) -> tuple[Array, Array, Array]:
        gate = probes.at_layer(drawn, layer)
        logits = masked_logits(game, model_params, probe_params, clean, gate, layer)
        share = mean_over_valid((gate == 0).astype(jnp.float32), inputs.valid)
        return share, game.family.divergence(clean.logits, logits), game.family.prediction(logits)

    return *jax.lax.map(at, jnp.arange(len(votes))), game.family.prediction(clean.logits)


def measure(
    evaluate: Callable[[Key[Array, ""], Any], tuple[Array, Array, Array, Array]],
    batches: Iterable[Batch],
    key: Key[Array, ""],
) -> Outcome:
    """`evaluate(key, inputs)` over a data set, put back into the data set's order.

    evaluate: a jitted `outcome_of` with its first four arguments filled in.
    """
    parts, order = [], []
    for number, batch in enumerate(batches):
        found = evaluate(jax.random.fold_in(key, number), batch.inputs)
        parts.append([np.asarray(array)[..., : len(batch.indices)] for array in found])
        order.append(batch.indices)
    places = np.argsort(np.concatenate(order))
    return Outcome(
        *(np.concatenate(field, axis=-1)[..., places] for field in zip(*parts, strict=True))
    )


def macro_f1(prediction: Int[np.ndarray, " N"], label: Int[np.ndarray, " N"]) -> float:
    """Unweighted mean over classes of F1 = 2·TP / (2·TP + FP + FN), over the classes that occur."""
    scores = []
    for c in np.union1d(prediction, label):
        hits = np.sum((prediction == c) & (label == c))
        scores.append(2 * hits / (np.sum(prediction == c) + np.sum(label == c)))
    return float(np.mean(scores))


def table(outcome: Outcome, labels: Int[np.ndarray, " N"] | None) -> list[dict[str, float]]:
    """One row a layer, and the mean over layers last: shares, nats, and F1 in points.

    f1_original and f1_masked need the gold labels and are left out without them.
    """
    rows = []
    for masked, divergence, prediction in zip(
        outcome.masked, outcome.divergence, outcome.prediction, strict=True
    ):
        row = {
            "masked": float(np.mean(masked)),
            "divergence": float(np.mean(divergence)),
            "agreement": float(np.mean(prediction == outcome.original)),
        }
        if labels is not None:
            row["f1_original"] = 100 * macro_f1(outcome.original, labels)
            row["f1_masked"] = 100 * macro_f1(prediction, labels)
        rows.append(row)
    rows.append({name: float(np.mean([row[name] for row in rows])) for name in rows[0]})
    return rows
