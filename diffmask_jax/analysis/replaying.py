"""The model's answers from only what a probe keeps of a batch, actually run at each layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.analysis.faithfulness import Outcome, masking
from diffmask_jax.game.objective import Clean, Game


class Replay(NamedTuple):
    """The model's answers from only what is kept at each layer in turn.

    outcome: how much is dropped, and the decisions without it
    outputs: what people are shown, `Family.outputs`
    probability: exp(−surprisal) of the whole text's decision, given only what is kept
    whole: exp(−surprisal) of that decision, given the whole text
    """

    outcome: Outcome
    outputs: Float[Array | np.ndarray, "L B ..."]
    probability: Float[Array | np.ndarray, "L B"]
    whole: Float[Array | np.ndarray, " B"]


def replay(
    game: Game, model_params: Any, probe_params: Any, clean: Clean, keep: Float[Array, "L B T"]
) -> Replay:
    """One masked pass per layer: z is 1 where P(z ≠ 0) > ½; elsewhere the baseline takes over."""
    family = game.model.family
    decision = family.prediction(clean.logits)
    mask = masking(game, model_params, probe_params, clean)

    def at(layer: Int[Array, ""]) -> tuple[Outcome, Array, Array]:
        outcome, logits = mask((keep[layer] > 0.5).astype(jnp.float32), layer)
        probability = jnp.exp(-family.surprisal(logits, decision))
        return outcome._replace(original=None), family.outputs(logits), probability

    outcome, outputs, probability = jax.lax.map(at, jnp.arange(len(keep)))
    whole = jnp.exp(-family.surprisal(clean.logits, decision))
    return Replay(outcome._replace(original=decision), outputs, probability, whole)
