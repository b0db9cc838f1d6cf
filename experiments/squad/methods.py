"""The other methods of Figure 2, on word embeddings: with the paper's settings for its one example,
and with fewer steps for many questions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffmask_jax.attribution import methods
from diffmask_jax.attribution.attention import received_of_all
from diffmask_jax.attribution.subject import Explained, Method
from diffmask_jax.game.model import Model, Params

ENTROPY = 5.0
"""Guan et al.: the authors' weight of the entropy of every position."""

MARGIN = 1.0
STEPS, FEW = 500, 20
SEARCH = 30  # passes per token: of 44 tokens, every pair beside the answer
ALONE = methods.PER_EXAMPLE._replace(margin=MARGIN)


class Counted(NamedTuple):
    """A method: its name, its settings in words, and the function, made for a network.

    What it finds is kept by its settings in words: whatever changes it belongs in them.
    """

    title: str
    told: str
    of: Callable[[Model, Params], Method]


def attention(network: Model, params: Params) -> Method:
    """The attention that each position receives in the strongest head, averaged over queries and
    blocks."""

    def attribute(key: Key[Array, ""], subject: Explained) -> Float[Array, "B T"]:
        assert network.attention is not None  # BERT has it
        inputs = subject.clean.inputs
        weights = network.attention(params, inputs, subject.clean.states)
        return received_of_all(weights, inputs.valid)

    return attribute


def guan(steps: int) -> Method:
    """Guan et al. as the authors weigh it: the sum of the positions' entropies, not the mean."""

    def attribute(key: Key[Array, ""], subject: Explained) -> Float[Array, "B T"]:
        positions = jnp.asarray(subject.clean.inputs.valid).sum(axis=1)
        return methods.guan(key, subject, steps=steps, weight=ENTROPY * positions)

    return attribute


def smallest(key: Key[Array, ""], subject: Explained) -> Float[Array, "B T"]:
    """The shares of the smallest sets that hold the answer and preserve it."""
    return methods.smallest_sets(key, subject, passes=SEARCH, always=methods.own_answer).share


def _any(title: str, told: str, method: Method) -> Counted:
    return Counted(title, told, lambda network, params: method)


def in_steps(steps: int) -> dict[str, Counted]:
    """The iterative methods, with so many steps."""
    told = f"{steps} steps"
    return {
        "integrated_gradients": _any(
            "Integrated gradients", told, functools.partial(methods.integrated, steps=steps)
        ),
        "schulz": _any("Schulz et al.", told, functools.partial(methods.schulz, steps=steps)),
        "guan": _any("Guan et al.", f"{told}, entropy × {ENTROPY:g} a position", guan(steps)),
    }


ATTENTION = Counted("Attention", "strongest head, mean over queries and blocks", attention)
LEFT_OUT = _any("Leave one out", "one pass per token, over the mean", methods.leave_one_out)

ON_EXAMPLE: dict[str, Counted] = {
    "attention": ATTENTION,
    **in_steps(STEPS),
    "leave_one_out": LEFT_OUT,
    "erasure": _any(
        "Erasure, by search",
        "share of the smallest sets that hold the answer's own pieces and preserve it, "
        f"{SEARCH} passes per token",
        smallest,
    ),
    "per_example": _any(
        "DiffMask, per example",
        f"{ALONE.steps} steps, rates {ALONE.rate:g} and {ALONE.multiplier_rate:g}, margin "
        f"{ALONE.margin:g}",
        functools.partial(methods.per_example, settings=ALONE),
    ),
}


def on_many(steps: int) -> dict[str, Counted]:
    """The methods that are counted on many questions; steps: those of the iterative ones."""
    return {"attention": ATTENTION, **in_steps(steps), "leave_one_out": LEFT_OUT}
