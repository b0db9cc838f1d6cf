"""The compared methods on any state of a frozen model, batched over texts (paper, section 3.2).

Each is a function (key, what it sees of one state) -> attributions (B, T); padding is inert.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.attribution.guan import tolerated_noise
from diffmask_jax.attribution.integrated_gradients import integrated_gradients
from diffmask_jax.attribution.schulz import Statistics, restrict_flow
from diffmask_jax.game import probes
from diffmask_jax.game.divergences import Family
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Clean


class Explained(NamedTuple):
    """What a method sees: a batch, the state to attribute to, and the network above that state.

    logits: the state, or another in its place -> the model's output
    noise: mean and deviation of the state over a data set
    """

    clean: Clean
    state: Float[Array, "B T D"]
    logits: Callable[[Array], Array]
    family: Family
    noise: Statistics


Method = Callable[[Key[Array, ""], Explained], Array]


def explained(
    model: Model, family: Family, params: Any, clean: Clean, noise: Statistics, layer: Any
) -> Explained:
    """One state of a model, by an int or, where the states have equal shape, a traced number.

    In float32, whatever the model computes in: it is steps along the state that methods add up.
    """
    state = probes.at_layer(clean.states, layer).astype(jnp.float32)
    return Explained(
        clean, state, lambda h: model.logits_from(params, clean.inputs, h, layer), family, noise
    )


def integrated(key: Key[Array, ""], seen: Explained, *, steps: int) -> Float[Array, "B T"]:
    """Integrated gradients of the predicted class' logit from zero, without their sign."""
    prediction = seen.family.prediction(seen.clean.logits)
    found = integrated_gradients(
        lambda state: seen.family.score(seen.logits(state), prediction),
        seen.state, seen.clean.inputs.valid, steps,
    )  # fmt: skip
    return jnp.abs(found.contribution)


def schulz(key: Key[Array, ""], seen: Explained, *, steps: int) -> Float[Array, "B T"]:
    """Restricting the flow, with the surprisal of the predicted class as the loss."""
    prediction = seen.family.prediction(seen.clean.logits)
    return restrict_flow(
        key, lambda state: seen.family.surprisal(seen.logits(state), prediction),
        seen.state, seen.clean.inputs.valid, seen.noise, steps,
    )  # fmt: skip


def guan(key: Key[Array, ""], seen: Explained, *, steps: int, weight: float) -> Float[Array, "B T"]:
    """The inverse of the noise that the logits tolerate."""
    return tolerated_noise(
        key, seen.logits, seen.state, seen.clean.inputs.valid, steps, weight=weight
    )


# The authors' settings on SST.
ON_TEXT: dict[str, Method] = {
    "integrated_gradients": functools.partial(integrated, steps=50),
    "schulz": functools.partial(schulz, steps=50),
    "guan": functools.partial(guan, steps=50, weight=0.1),
}


def at_every_layer(
    method: Method,
    model: Model,
    family: Family,
    params: Any,
    noise: Statistics,
    key: Key[Array, ""],
    clean: Clean,
) -> Float[Array, "L B T"]:
    """One method's attributions to every state, for models whose states have equal shape.

    noise: statistics with a leading layer axis. One program serves all layers: `layer` is traced.
    """

    def at(layer: Int[Array, ""]) -> Float[Array, "B T"]:
        here = jax.tree.map(lambda a: a[layer], noise)
        seen = explained(model, family, params, clean, here, layer)
        return method(jax.random.fold_in(key, layer), seen)

    return jax.lax.map(at, jnp.arange(len(clean.states)))
