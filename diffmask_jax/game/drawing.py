"""Drawing gates: one Hard Concrete draw a vote, and no vote computed that nobody plays."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.game import hard_concrete
from diffmask_jax.game.gate_network import behind_first, read, voted
from diffmask_jax.game.model import Layer, States, at_layer, rows_of
from diffmask_jax.game.probes import Probe, Votes, log_keep_probabilities, vote_logits

Depths = Int[np.ndarray, " B"]
"""Which depth each example of a batch plays, known to the program: nothing is computed that an
example's own depth does not need, and examples masked at different states share one pass."""


def sample_gates(probe: Probe, key: Key[Array, ""], votes: Votes) -> Votes:
    """One draw of the gates in [0, 1] at every layer; layers of one input share their votes."""
    draws = jax.vmap(hard_concrete.sample)(jax.random.split(key, len(votes)), jnp.stack(votes))
    return probe.combine(tuple(draws), operator.mul)


class Drawn(NamedTuple):
    """One draw of the gates in play, what it was drawn from, and how far its votes are from even.

    log_keep: log P(z ≠ 0), nats; squares: Σ a² over the votes of a gate
    """

    gates: Float[Array, "B T"]
    log_keep: Float[Array, "B T"]
    squares: Float[Array, "B T"]


def draw(
    probe: Probe, params: Any, keys: Key[Array, " B"], states: States, layer: Layer | Depths
) -> Drawn:
    """One draw of the gates that a batch plays.

    keys: one an example, so that its gates do not depend on who else is in the batch.
    """
    if isinstance(layer, np.ndarray):
        return _draw_by_row(probe, params, keys, states, layer)
    if isinstance(layer, int):
        return _draw_at(probe, params, keys, states, layer)
    votes = vote_logits(probe, params, states)
    gates = jax.vmap(functools.partial(sample_gates, probe))(keys, votes)
    squares = probe.combine(tuple(vote**2 for vote in votes), operator.add)
    per_layer = gates, log_keep_probabilities(probe, votes), squares
    return Drawn(*(at_layer(values, layer) for values in per_layer))


def _draw_at(
    probe: Probe, params: Any, keys: Key[Array, " B"], states: States, layer: int
) -> Drawn:
    """The same where all examples play one depth, known to the program: no other votes are made."""
    layers = np.array(probe.votes(layer))
    votes = jnp.stack([_vote(probe, params, states, k) for k in layers.tolist()])
    needed = np.ones((len(layers), 1, 1), bool)
    return _drawn(_a_key_a_layer(keys, len(states))[:, layers], votes, needed)


def _vote(probe: Probe, params: Any, states: States, layer: int) -> Float[Array, "B T"]:
    """The logits of one layer's vote."""
    gate = params["gates"][layer]
    return voted(gate, read(gate, *probe.features(states, layer)))


def _draw_by_row(
    probe: Probe, params: Any, keys: Key[Array, " B"], states: States, depths: Depths
) -> Drawn:
    """The same where every example plays a depth of its own, known to the program: each has only
    the votes that it needs, where a traced depth has to have them all."""
    layers = range(len(states))
    needed = np.array([[layer in probe.votes(depth) for depth in depths] for layer in layers])
    votes = _needed_votes(probe, params["gates"], states, needed)
    return _drawn(_a_key_a_layer(keys, len(layers)), votes, needed[..., None])


def _a_key_a_layer(keys: Key[Array, " B"], layers: int) -> Key[Array, "B L"]:
    return jax.vmap(functools.partial(jax.random.split, num=layers))(keys)


def _drawn(
    keys: Key[Array, "B V"], votes: Float[Array, "V B T"], needed: Bool[np.ndarray, "V _ 1"]
) -> Drawn:
    """One draw of V votes an example; those that an example does not need leave its gates alone."""
    draws = jax.vmap(jax.vmap(hard_concrete.sample), in_axes=(1, 0))(keys, votes)
    logs = hard_concrete.log_keep_probability(votes)
    return Drawn(
        gates=functools.reduce(operator.mul, jnp.where(needed, draws, 1.0)),
        log_keep=jnp.sum(jnp.where(needed, logs, 0.0), axis=0),
        squares=jnp.sum(jnp.where(needed, votes**2, 0.0), axis=0),
    )


def _needed_votes(
    probe: Probe, gates: Sequence[Any], states: States, needed: Bool[np.ndarray, "L B"]
) -> Float[Array, "L B T"]:
    """The logits of the votes that are needed; what stands for the others means nothing.

    Each gate network reads the rows that need its vote, and no others. From there on the votes of
    all networks are made together, each with its own network's parameters: a program compiles and
    starts a few operations, where it would take as many for every layer.
    """
    reads = [
        read(gate, *rows_of(probe.features(states, layer), rows))
        for layer, gate in enumerate(gates)
        if (rows := np.flatnonzero(needed[layer])).size
    ]
    voters = np.eye(len(gates), dtype=np.float32)[np.nonzero(needed)[0]]

    def of_voters(*own: Float[Array, "..."]) -> Float[Array, "V ..."]:
        # A product, whose gradient is one as well; that of a look-up is a loop.
        return jnp.tensordot(voters, jnp.stack(own), axes=1, precision="highest")

    own = jax.tree.map(of_voters, *map(behind_first, gates))
    votes = jax.vmap(voted)(own, jnp.concatenate(reads))
    number = np.cumsum(needed).reshape(needed.shape) - 1
    return votes[np.maximum(number, 0)]
