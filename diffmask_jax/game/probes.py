"""What a probe reads, and how its votes become gates.

A vote is one Hard Concrete draw per layer and position. There are two probes (paper, section 2):

- the input probe votes from [h⁽⁰⁾; h⁽ᵏ⁾] and, at depth ℓ, gates the *input* h⁽⁰⁾ with the product
  z = Π_{k≤ℓ} v⁽ᵏ⁾, hence log P(z ≠ 0) = Σ_{k≤ℓ} log P(v⁽ᵏ⁾ ≠ 0);
- the hidden probe votes from h⁽ˡ⁾ and gates that very state with its vote alone.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.game import gate_network, gates, hard_concrete
from diffmask_jax.game.gate_network import (
    GateNetwork,
    first_product,
    logits_of,
    without_first_kernel,
)
from diffmask_jax.game.gates import Gate
from diffmask_jax.game.model import PerLayer, States

Votes = tuple[Float[Array, "*B T"], ...]
"""One number per layer and position: the votes' logits, or what is computed from them."""


class Probe(NamedTuple):
    """Everything in which the two probes differ.

    gate: what it gates, in words
    features: (states, k) -> arrays (B, T, _), the inputs of the k-th gate network
    votes: depth -> the layers whose votes are combined into the gate of that depth
    combine: the votes of all layers, and an associative operation -> the gates of all depths
    target: depth -> the state that the gate of that depth masks
    baselines: number of states -> number of baselines
    hidden: width of the gate networks' hidden layer
    """

    gate: Gate
    features: Callable[[States, int], tuple[Array, ...]]
    votes: Callable[[int], Sequence[int]]
    combine: Callable[[PerLayer, Callable[[Array, Array], Array]], PerLayer]
    target: Callable[[Any], Any]
    baselines: Callable[[int], int]
    hidden: int


@functools.cache
def input_probe(hidden: int) -> Probe:
    """The probe that gates the input, conditioned on the input and the states up to a layer."""
    return Probe(
        gate=gates.INPUT,
        features=lambda states, k: (states[0], states[k]),
        votes=lambda depth: range(depth + 1),
        combine=lambda votes, operation: tuple(itertools.accumulate(votes, operation)),
        target=lambda depth: 0,
        baselines=lambda layers: 1,
        hidden=hidden,
    )


@functools.cache
def hidden_probe(hidden: int) -> Probe:
    """The probe that gates each hidden state, conditioned on that state alone."""
    return Probe(
        gate=gates.HIDDEN,
        features=lambda states, k: (states[k],),
        votes=lambda depth: (depth,),
        combine=lambda votes, operation: tuple(votes),
        target=lambda depth: depth,
        baselines=lambda layers: layers,
        hidden=hidden,
    )


PROBES = {gates.INPUT.name: input_probe, gates.HIDDEN.name: hidden_probe}
"""By the name of a gate: width of the gate networks' hidden layer -> probe."""


def init(
    key: Key[Array, ""], probe: Probe, states: States, baselines: Sequence[Float[Array, " _"]]
) -> dict[str, Any]:
    """Fresh parameters: a gate network per state of `states`, and the given baselines.

    Raises: ValueError if the number or width of the baselines does not match the states.
    """
    widths = [states[k].shape[-1] for k in range(probe.baselines(len(states)))]
    if [b.shape[-1] for b in baselines] != widths:
        raise ValueError(f"baselines must have widths {widths}, got {[b.shape for b in baselines]}")
    keys = jax.random.split(key, len(states))
    fresh: Any = jax.jit(GateNetwork(probe.hidden).init)  # traced once for all layers of a width
    return {
        "gates": [fresh(k, *probe.features(states, i))["params"] for i, k in enumerate(keys)],
        "baselines": [jnp.asarray(b, jnp.float32) for b in baselines],
    }


def calibrated(
    probe: Probe, params: dict[str, Any], states: States, valid: Bool[Array | np.ndarray, "B T"]
) -> dict[str, Any]:
    """The same probe, each gate network adjusted to its inputs (`gate_network.calibrated`)."""
    gates = [
        gate_network.calibrated(gate, jnp.concatenate(probe.features(states, k), axis=-1), valid)
        for k, gate in enumerate(params["gates"])
    ]
    return params | {"gates": gates}


def vote_logits(probe: Probe, params: Any, states: States) -> Votes:
    """The Hard Concrete logits of every layer's vote, (B, T) each."""
    gates = params["gates"]
    products = [
        first_product(gate, *probe.features(states, layer)) for layer, gate in enumerate(gates)
    ]
    own = jax.tree.map(lambda *parts: jnp.stack(parts), *map(without_first_kernel, gates))
    return tuple(jax.vmap(logits_of)(own, jnp.stack(products)))


def log_keep_probabilities(probe: Probe, votes: Votes) -> Votes:
    """log P(z ≠ 0) at every layer, nats, (B, T) each."""
    logs = hard_concrete.log_keep_probability(jnp.stack(votes))
    return probe.combine(tuple(logs), operator.add)
