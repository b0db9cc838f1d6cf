"""A data set seen by a probe: each text explained, and answered from what every layer keeps."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import Explainer, Replies
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
    prediction: what is decided, arrays (L, N, …); original: of the whole texts, arrays (N, …)
    All without the axis N where it is one text's.
    """

    masked: Float[Array | np.ndarray, "L N"]
    divergence: Float[Array | np.ndarray, "L N"]
    agreement: Float[Array | np.ndarray, "L N"]
    prediction: Prediction
    original: Prediction


class Survey(NamedTuple):
    """N texts at L layers, in the order in which they were given.

    answers: for each text, what it is answered from what each layer keeps of it
    replay: what is left of their answers
    """

    explanations: list[Explanation]
    answers: list[list[Answer]]
    replay: Replay


def survey(explainer: Explainer, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Survey:
    """Every text explained and replayed. encoded: the texts, as the explainer's model reads them.

    Raises: ValueError if there is no text.
    """
    if not texts:
        raise ValueError("there is no text to survey")
    model, mesh = explainer.model, devices.data_mesh()
    run = devices.spread(functools.partial(_look, explainer.game), mesh)
    size = devices.round_up(BATCH, mesh)
    seen: dict[int, tuple[Explanation, list[Answer], Replay]] = {}
    with tqdm(total=len(texts), desc="survey", unit="text", disable=None) as bar:
        for batch in batches.in_order(encoded, size, model.config.positions):
            replies, outputs, replay = jax.device_get(run(*explainer.params, batch.inputs))
            for row, index in enumerate(batch.indices.tolist()):
                text, pieces = texts[index], encoded[index]
                seen[index] = (
                    explainer.explanation(text, pieces, replies, row),
                    [model.head.answer(model.labels, o, text, pieces) for o in outputs[:, row]],
                    _of_text(replay, row),
                )
            bar.update(len(batch.indices))
    explanations, answers, replays = zip(*(seen[index] for index in range(len(texts))), strict=True)
    return Survey(list(explanations), list(answers), _together(replays))


def _look(
    game: Game, model_params: Any, probe_params: Any, inputs: TextInputs
) -> tuple[Replies, Float[Array, "L B ..."], Replay]:
    """One batch explained, and its outputs (`Family.outputs`) with every layer's gate in turn."""
    family, clean = game.model.family, clean_pass(game, model_params, inputs)
    original = family.prediction(clean.logits)
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    keep = jnp.exp(jnp.stack(probes.log_keep_probabilities(game.probe, votes)))

    def at(layer: Int[Array, ""]) -> tuple[Array, tuple[Any, ...]]:
        gate = (keep[layer] > 0.5).astype(keep.dtype)
        logits = masked_logits(game, model_params, probe_params, clean, gate, layer)
        prediction = family.prediction(logits)
        return family.outputs(logits), (
            mean_over_valid(1 - gate, jnp.asarray(inputs.valid)),
            family.divergence(clean.logits, logits),
            family.agreement(original, prediction),
            prediction,
        )

    outputs, (masked, divergence, agreement, prediction) = jax.lax.map(at, jnp.arange(len(keep)))
    replies = Replies(family.outputs(clean.logits), keep)
    return replies, outputs, Replay(masked, divergence, agreement, prediction, original)


def _of_text(replay: Replay, row: int) -> Replay:
    by_layer = jax.tree.map(lambda array: array[:, row], replay._replace(original=None))
    return by_layer._replace(original=jax.tree.map(lambda array: array[row], replay.original))


def _together(replays: Sequence[Replay]) -> Replay:
    by_layer = [replay._replace(original=None) for replay in replays]
    stacked = jax.tree.map(lambda *own: np.stack(own, axis=1), *by_layer)
    originals = [replay.original for replay in replays]
    return stacked._replace(original=jax.tree.map(lambda *own: np.stack(own), *originals))
