"""Does the model's decision stay the same without what a probe drops? (paper, section 3.2)"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.data.batches import Batch, put_back
from diffmask_jax.game import probes
from diffmask_jax.game.divergences import Logits, Prediction
from diffmask_jax.game.drawing import sample_gates
from diffmask_jax.game.masking import mean_over_valid
from diffmask_jax.game.model import at_layer
from diffmask_jax.game.objective import Clean, Game, clean_pass, masked_logits
from diffmask_jax.game.probes import Votes


class Outcome(NamedTuple):
    """The effect of masking on every example at every layer, for a batch or a data set.

    masked: share of positions dropped, (L, N), or (N,) for one layer
    divergence: nats, of the same shape
    agreement: in [0, 1], of the same shape
    prediction: the decisions after masking, arrays (L, N, …)
    original: the decisions before, arrays (N, …)

    In a batch that comes from the device, the last two may still be what the decisions are then
    made from (`outcome_of`).
    """

    masked: Float[Array | np.ndarray, "*L N"]
    divergence: Float[Array | np.ndarray, "*L N"]
    agreement: Float[Array | np.ndarray, "*L N"]
    prediction: Prediction
    original: Prediction


class Numbered(NamedTuple):
    """The inputs of a batch, and the number of every row in the data set."""

    numbers: Int[Array | np.ndarray, " B"]
    inputs: Any


Gates = Callable[[Game, Key[Array, " B"], Votes], Votes]
"""(game, a key per example, the votes on a batch) -> its gates in [0, 1] at every layer."""


def sampled(game: Game, keys: Key[Array, " B"], votes: Votes) -> Votes:
    """Gates as in training: one draw of each."""
    return jax.vmap(functools.partial(sample_gates, game.probe))(keys, votes)


def thresholded(game: Game, keys: Key[Array, " B"], votes: Votes) -> Votes:
    """Gates of 0 or 1: a position is kept if its keep probability is above ½."""
    logs = probes.log_keep_probabilities(game.probe, votes)
    return tuple((log > math.log(0.5)).astype(log.dtype) for log in logs)


def outcome_of(
    game: Game,
    gates: Gates,
    model_params: Any,
    probe_params: Any,
    key: Key[Array, ""],
    batch: Numbered,
    *,
    read: Callable[[Logits], Any] | None = None,
) -> Outcome:
    """The outcome for one batch, masked at every layer in turn; one program.

    An example's gates follow from the key and its number, whatever batch it is in.

    read: logits -> the prediction, or what it is to be made from later; by default the family's
    prediction.
    """
    clean = clean_pass(game.model, model_params, batch.inputs)
    read = read or game.model.family.prediction
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    drawn = gates(game, jax.vmap(jax.random.fold_in, (None, 0))(key, batch.numbers), votes)
    mask = masking(game, model_params, probe_params, clean)

    def at(layer: Int[Array, ""]) -> Outcome:
        outcome, logits = mask(at_layer(drawn, layer), layer)
        return outcome._replace(prediction=read(logits), original=None)

    outcome = jax.lax.map(at, jnp.arange(len(votes)))
    return outcome._replace(original=read(clean.logits))


def masking(
    game: Game, model_params: Any, probe_params: Any, clean: Clean
) -> Callable[[Array, Int[Array, ""]], tuple[Outcome, Logits]]:
    """(gates (B, T), layer) -> the outcome of masking a batch at that layer, and the logits."""
    family, valid = game.model.family, jnp.asarray(clean.inputs.valid)
    original = family.prediction(clean.logits)

    def mask(gate: Float[Array, "B T"], layer: Int[Array, ""]) -> tuple[Outcome, Logits]:
        logits = masked_logits(game, model_params, probe_params, clean, gate, layer)
        prediction = family.prediction(logits)
        outcome = Outcome(
            masked=mean_over_valid((gate == 0).astype(jnp.float32), valid),
            divergence=family.divergence(clean.logits, logits),
            agreement=family.agreement(original, prediction),
            prediction=prediction,
            original=original,
        )
        return outcome, logits

    return mask


def measure(
    evaluate: Callable[[Key[Array, ""], Numbered], Outcome],
    batches: Iterable[Batch],
    key: Key[Array, ""],
    decide: Callable[[Any, Int[np.ndarray, " B"]], Prediction] | None = None,
) -> Outcome:
    """`evaluate(key, batch)` over a data set, put back into the data set's order.

    evaluate: a jitted `outcome_of` with its first four arguments filled in.
    decide: (what it read of the logits, arrays (…, B, …); the numbers of the examples in their
        first rows) -> the predictions. Without it, what was read is the prediction.
    """

    def of_batch(batch: Batch) -> Outcome:
        rows = np.resize(batch.indices, len(batch.inputs.valid))
        outcome: Outcome = jax.device_get(evaluate(key, Numbered(rows, batch.inputs)))
        if decide is None:
            return outcome
        original, prediction = (
            decide(read, batch.indices) for read in (outcome.original, outcome.prediction)
        )
        return outcome._replace(original=original, prediction=prediction)

    found = ((batch.indices, of_batch(batch)) for batch in batches)
    return put_back(found, along_examples)


def along_examples(function: Callable[..., np.ndarray], *outcomes: Outcome) -> Outcome:
    """Apply a function of arrays (N, …) to every array of some outcomes."""

    def behind_layers(*arrays: np.ndarray) -> np.ndarray:
        return np.moveaxis(function(*(np.moveaxis(a, 1, 0) for a in arrays)), 0, 1)

    fields = dict(zip(Outcome._fields, zip(*outcomes, strict=True), strict=True))
    original = jax.tree.map(function, *fields.pop("original"))
    return Outcome(
        **{name: jax.tree.map(behind_layers, *field) for name, field in fields.items()},
        original=original,
    )


Measure = Callable[[Prediction], dict[str, float]]
"""The decisions for a data set -> scores against its gold labels."""


def table(outcome: Outcome, measure: Measure | None = None) -> list[dict[str, float]]:
    """One row per layer, and the mean over layers last: shares, nats, and scores against gold.

    Every score of `measure` has two columns, its name followed by _original and by _masked.
    """
    rows = []
    original = measure(outcome.original) if measure is not None else {}
    for layer in range(len(outcome.masked)):
        row = {
            name: float(np.mean(values[layer]))
            for name, values in zip(Outcome._fields[:3], outcome[:3], strict=True)
        }
        if measure is not None:
            masked = jax.tree.map(lambda a, layer=layer: a[layer], outcome.prediction)
            for name, score in measure(masked).items():
                row |= {f"{name}_original": original[name], f"{name}_masked": score}
        rows.append(row)
    rows.append({name: float(np.mean([row[name] for row in rows])) for name in rows[0]})
    return rows
