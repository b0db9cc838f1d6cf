"""Drawing gates: one Hard Concrete draw per vote, and no vote computed that is not in play."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.game import hard_concrete
from diffmask_jax.game.gate_network import first_product, logits_of, without_first_kernel
from diffmask_jax.game.model import Layer, States, at_layer, rows_of
from diffmask_jax.game.probes import Probe, Votes, log_keep_probabilities, vote_logits

Depths = Int[np.ndarray, " B"]
"""The depth that each example of a batch plays, known when the program is compiled: nothing is
computed that an example's own depth does not need, and examples masked at different states share
one pass."""


def sample_gates(probe: Probe, key: Key[Array, ""], votes: Votes) -> Votes:
    """One draw of the gates in [0, 1] at every layer; layers of one input share their votes."""
    draws = jax.vmap(hard_concrete.sample)(jax.random.split(key, len(votes)), jnp.stack(votes))
    return probe.combine(tuple(draws), operator.mul)


class Drawn(NamedTuple):
    """One draw of the gates in play.

    gates: z in [0, 1]
    log_keep: log P(z ≠ 0), nats
    squares: Σ a² over the logits a of a gate's votes
    """

    gates: Float[Array, "B T"]
    log_keep: Float[Array, "B T"]
    squares: Float[Array, "B T"]


def draw(
    probe: Probe, params: Any, keys: Key[Array, " B"], states: States, layer: Layer | Depths
) -> Drawn:
    """One draw of the gates that a batch plays.

    keys: one per example, so that its gates do not depend on the rest of the batch
    layer: the depth that is played, by all examples or by each its own
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
    """`draw` at one static depth for all examples: only the votes of that depth are computed."""
    layers = np.array(probe.votes(layer))
    votes = jnp.stack([_vote(probe, params, states, k) for k in layers.tolist()])
    needed = np.ones((len(layers), 1, 1), bool)
    return _drawn(_keys_per_layer(keys, len(states))[:, layers], votes, needed)


def _vote(probe: Probe, params: Any, states: States, layer: int) -> Float[Array, "B T"]:
    """The logits of one layer's vote."""
    gate = params["gates"][layer]
    return logits_of(gate, first_product(gate, *probe.features(states, layer)))


def _draw_by_row(
    probe: Probe, params: Any, keys: Key[Array, " B"], states: States, depths: Depths
) -> Drawn:
    """`draw` at a static depth per example: only the votes that an example needs are computed,
    whereas a traced depth takes them all."""
    layers = range(len(states))
    needed = np.array([[layer in probe.votes(depth) for depth in depths] for layer in layers])
    votes = _needed_votes(probe, params["gates"], states, needed)
    return _drawn(_keys_per_layer(keys, len(layers)), votes, needed[..., None])


def _keys_per_layer(keys: Key[Array, " B"], layers: int) -> Key[Array, "B L"]:
    return jax.vmap(functools.partial(jax.random.split, num=layers))(keys)


def _drawn(
    keys: Key[Array, "B V"], votes: Float[Array, "V B T"], needed: Bool[np.ndarray, "V _ 1"]
) -> Drawn:
    """One draw of V votes per example, combined; votes that are not needed count as open gates."""
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
    """The logits of the votes that are needed; the entries of the others are arbitrary.

    Each gate network's first product is computed for the rows that need its vote, and no others.
    The rest is computed for all networks at once, each row with its own network's parameters: a few
    operations to compile and start, instead of as many per layer.
    """
    products = [
        first_product(gate, *rows_of(probe.features(states, layer), rows))
        for layer, gate in enumerate(gates)
        if (rows := np.flatnonzero(needed[layer])).size
    ]
    voters = np.eye(len(gates), dtype=np.float32)[np.nonzero(needed)[0]]

    def of_voters(*own: Float[Array, "..."]) -> Float[Array, "V ..."]:
        # A matrix product, since its gradient is one too; the gradient of indexing is a loop.
        return jnp.tensordot(voters, jnp.stack(own), axes=1, precision="highest")

    own = jax.tree.map(of_voters, *map(without_first_kernel, gates))
    votes = jax.vmap(logits_of)(own, jnp.concatenate(products))
    number = np.cumsum(needed).reshape(needed.shape) - 1
    return votes[np.maximum(number, 0)]
