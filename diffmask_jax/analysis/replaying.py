"""What the model answers from what a probe keeps of one batch: run, layer by layer, not assumed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.analysis.faithfulness import Outcome, masking
from diffmask_jax.game.objective import Clean, Game


class Replay(NamedTuple):
    """The model's answers when, at each layer in turn, only what is kept there is left.

    outcome: how much is dropped and what is decided without it
    outputs: what people are shown, `Family.outputs`
    probability: exp(−surprisal) of the decision on the whole text, by what is kept of it
    whole: the same by the whole text
    """

    outcome: Outcome
    outputs: Float[Array | np.ndarray, "L B ..."]
    probability: Float[Array | np.ndarray, "L B"]
    whole: Float[Array | np.ndarray, " B"]


def replay(
    game: Game, model_params: Any, probe_params: Any, clean: Clean, keep: Float[Array, "L B T"]
) -> Replay:
    """One masked pass a layer: z is 1 where P(z ≠ 0) > ½, else 0, and the baseline stands there."""
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
