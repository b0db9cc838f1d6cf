"""What an attribution method is given: a state of a frozen model, and the network above it."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.game.divergences import Family, Logits
from diffmask_jax.game.model import Layer, Model, widened
from diffmask_jax.game.objective import Clean


class Explained(NamedTuple):
    """What a method sees: a batch, the state to attribute to, and the network above that state.

    Attributes:
        logits: the state, or another in its place -> the model's output. Given also the numbers of
            some texts of the batch, it takes states in place of only theirs.
        family: the family of that output
        noise: mean and deviation of the state over a data set; None for methods that do without
    """

    clean: Clean
    state: Float[Array, "B T D"]
    logits: Callable[..., Logits]
    family: Family
    noise: Statistics | None

    @property
    def statistics(self) -> Statistics:
        """The noise of a method that needs it (`Named.needs_noise`)."""
        assert self.noise is not None
        return self.noise


Method = Callable[[Key[Array, ""], Explained], Any]
"""(key, `Explained`) -> attributions (B, T), or a tree of arrays with such (`methods.Searched`)."""


def explained(
    model: Model, params: Any, clean: Clean, noise: Statistics | None, layer: int
) -> Explained:
    """One state of a model, as methods see it.

    In float32, whatever the model computes in: methods add up many small steps along the state.
    """
    return _explained(model, params, clean, clean.states[layer], noise, layer)


def _explained(
    model: Model, params: Any, clean: Clean, state: Array, noise: Statistics | None, layer: Layer
) -> Explained:
    widest = max(state.shape[-1] for state in clean.states)

    def logits(state: Array, texts: Array | slice = slice(None)) -> Logits:
        there = state if isinstance(layer, int) else widened(state, widest)
        inputs = jax.tree.map(lambda a: jnp.asarray(a)[texts], clean.inputs)
        return model.logits_from(params, inputs, there, layer)

    return Explained(clean, state.astype(jnp.float32), logits, model.family, noise)


def at_every_layer(
    method: Method,
    model: Model,
    params: Any,
    noise: Statistics | None,
    key: Key[Array, ""],
    clean: Clean,
) -> Any:
    """One method's attributions to every state, (L, B, T), or what else it gives, stacked.

    noise: the statistics of all states, (L, D), from `state_statistics`, or None for a method that
    does without

    One program serves all states of a width, since `layer` is traced.
    """

    def of_width(first: int, states: Sequence[Array]) -> Any:
        stacked, width = jnp.stack(states), states[0].shape[-1]

        def at(layer: Int[Array, ""]) -> Any:
            here = jax.tree.map(lambda a: a[layer, :width], noise)
            state = stacked[layer - first]
            return method(
                jax.random.fold_in(key, layer),
                _explained(model, params, clean, state, here, layer),
            )

        return jax.lax.map(at, first + jnp.arange(len(states)))

    parts, layers = [], range(len(clean.states))
    for _, group in itertools.groupby(layers, lambda layer: clean.states[layer].shape[-1]):
        numbers = list(group)
        parts.append(of_width(numbers[0], [clean.states[layer] for layer in numbers]))
    return jax.tree.map(lambda *of_each: jnp.concatenate(of_each), *parts)
