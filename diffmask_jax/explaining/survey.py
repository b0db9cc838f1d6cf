"""A data set seen by a probe: each text explained, and answered from what every layer keeps."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from diffmask_jax.analysis.faithfulness import thresholded
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.game import probes
from diffmask_jax.game.divergences import Prediction
from diffmask_jax.game.masking import mean_over_valid
from diffmask_jax.game.objective import Game, clean_pass, masked_logits
from diffmask_jax.models.heads import Answer
from diffmask_jax.runtime import devices

BATCH = 32


class Replay(NamedTuple):
    """What is left of some texts' answers at every layer, its gates thresholded at ½.

    masked: share of positions dropped; divergence: nats; agreement: in [0, 1]
    outputs: what people are shown (`Family.outputs`); prediction: what is decided, arrays (L, N, …)
    original: what is decided of the whole texts, arrays (N, …)
    All without the axis N where it is one text's.
    """

    masked: Float[Array | np.ndarray, "L N"]
    divergence: Float[Array | np.ndarray, "L N"]
    agreement: Float[Array | np.ndarray, "L N"]
    outputs: Float[Array | np.ndarray, "L N ..."]
    prediction: Prediction
    original: Prediction


class Survey(NamedTuple):
    """N texts at L layers, in the order in which they were given.

    answers: for each text, what it is answered from what each layer keeps of it
    masked, divergence, agreement, prediction, original: as of `Replay`
    """

    explanations: list[Explanation]
    answers: list[list[Answer]]
    masked: Float[np.ndarray, "L N"]
    divergence: Float[np.ndarray, "L N"]
    agreement: Float[np.ndarray, "L N"]
    prediction: Prediction
    original: Prediction


def survey(explainer: Explainer, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Survey:
    """Every text explained and replayed. encoded: the texts, as the explainer's model reads them.

    Raises: ValueError if there is no text.
    """
    if not texts:
        raise ValueError("there is no text to survey")
    explained = tqdm(
        explainer.stream(texts, encoded), "explain", len(texts), unit="text", disable=None
    )
    explanations = dict(explained)
    mesh = devices.data_mesh()
    run = devices.spread(functools.partial(_replay, explainer.game), mesh)
    size = devices.round_up(BATCH, mesh)
    rows: dict[int, Replay] = {}
    with tqdm(total=len(texts), desc="replay", unit="text", disable=None) as bar:
        for batch in batches.in_order(encoded, size, explainer.model.config.positions):
            replay = jax.device_get(run(*explainer.params, batch.inputs))
            rows |= {int(index): _of_text(replay, row) for row, index in enumerate(batch.indices)}
            bar.update(len(batch.indices))
    order = range(len(texts))
    return Survey(
        [explanations[index] for index in order],
        [_answers(explainer, texts[n], encoded[n], rows[n].outputs) for n in order],
        *_together([rows[index]._replace(outputs=None) for index in order]),
    )


def _replay(game: Game, model_params: Any, probe_params: Any, inputs: TextInputs) -> Replay:
    """One program for all layers."""
    family, clean = game.model.family, clean_pass(game, model_params, inputs)
    original = family.prediction(clean.logits)
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    gates = thresholded(game, jax.random.key(0), votes)

    def at(layer: Int[Array, ""]) -> tuple[Any, ...]:
        gate = probes.at_layer(gates, layer)
        logits = masked_logits(game, model_params, probe_params, clean, gate, layer)
        prediction = family.prediction(logits)
        return (
            mean_over_valid((gate == 0).astype(jnp.float32), inputs.valid),
            family.divergence(clean.logits, logits),
            family.agreement(original, prediction),
            family.outputs(logits),
            prediction,
        )

    return Replay(*jax.lax.map(at, jnp.arange(len(votes))), original)


def _of_text(replay: Replay, row: int) -> Replay:
    """One text's part, arrays (L, …)."""
    *by_layer, original = replay
    parts = jax.tree.map(lambda array: array[:, row], by_layer)
    return Replay(*parts, jax.tree.map(lambda array: array[row], original))


def _together(rows: Sequence[Replay]) -> list[Any]:
    """Those of all texts, but for the outputs, whose shape may differ between texts."""
    fields = dict(zip(Replay._fields, zip(*rows, strict=True), strict=True))
    del fields["outputs"]
    original = jax.tree.map(lambda *parts: np.stack(parts), *fields.pop("original"))
    by_layer = [
        jax.tree.map(lambda *parts: np.stack(parts, axis=1), *parts) for parts in fields.values()
    ]
    return [*by_layer, original]


def _answers(
    explainer: Explainer, text: Text, encoded: Encoded, outputs: Float[np.ndarray, "L ..."]
) -> list[Answer]:
    model = explainer.model
    return [model.head.answer(model.labels, each, text, encoded) for each in outputs]
