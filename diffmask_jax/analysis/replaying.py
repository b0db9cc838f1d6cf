"""What the model answers from what a probe keeps of one batch: run, layer by layer, not assumed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.game.objective import Clean, Game, masked_logits


class Replay(NamedTuple):
    """The model's answers when, at each layer in turn, only what is kept there is left.

    outputs: what people are shown, `Family.outputs`; divergence: D_KL[whole ‖ kept] in nats
    agreement: with the decision on the whole text, in [0, 1]
    probability: exp(−surprisal) of that decision; of nothing but kept text, and of the whole one
    """

    outputs: Float[Array | np.ndarray, "L B ..."]
    divergence: Float[Array | np.ndarray, "L B"]
    agreement: Float[Array | np.ndarray, "L B"]
    probability: Float[Array | np.ndarray, "L B"]
    whole: Float[Array | np.ndarray, " B"]


def replay(
    game: Game, model_params: Any, probe_params: Any, clean: Clean, keep: Float[Array, "L B T"]
) -> Replay:
    """One masked pass a layer: z is 1 where P(z ≠ 0) > ½, else 0, and the baseline stands there."""
    family = game.model.family
    decision = family.prediction(clean.logits)

    def at(layer: Int[Array, ""]) -> tuple[Array, Array, Array, Array]:
        gate = (keep[layer] > 0.5).astype(jnp.float32)
        logits = masked_logits(game, model_params, probe_params, clean, gate, layer)
        return (
            family.outputs(logits),
            family.divergence(clean.logits, logits),
            family.agreement(decision, family.prediction(logits)),
            jnp.exp(-family.surprisal(logits, decision)),
        )

    replayed = jax.lax.map(at, jnp.arange(len(keep)))
    return Replay(*replayed, jnp.exp(-family.surprisal(clean.logits, decision)))
