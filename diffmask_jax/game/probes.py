"""Gate networks and their votes: what a probe reads and how its votes become gates.

A vote is one Hard Concrete draw a layer and position. Two probes exist (paper, section 2):

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
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.game import gates, hard_concrete
from diffmask_jax.game.gates import Gate
from diffmask_jax.game.model import States, rows_of

Layer = int | Int[Array, ""]
"""Which depth all examples of a batch play."""

Depths = Int[np.ndarray, " B"]
"""Which depth each example of a batch plays, known to the program: nothing is computed that an
example's own depth does not need, and examples masked at different states share one pass."""

Votes = tuple[Float[Array, "*B T"], ...]
PerLayer = tuple[Array, ...]


class GateNetwork(nn.Module):
    """g: (B, T, F) -> (B, T) logits; 10·tanh(w·tanh(W·x + b) + b') + c, weights normalised.

    x is what stands in all of `features` together, (B, T, F₁), (B, T, F₂), …, of which no
    concatenation is made. c is learned and starts at 5, so that gates start open (P(z ≠ 0) ≈ 0.99).
    """

    hidden: int

    @nn.compact
    def __call__(self, *features: Float[Array, "B T _"]) -> Float[Array, "B T"]:
        inputs = sum(feature.shape[-1] for feature in features)
        gate = {
            "first": _Affine(self.hidden, name="first")(inputs),
            "first_norm": _Norms("first", name="first_norm")(self.hidden),
            "second": _Affine(1, name="second")(self.hidden),
            "second_norm": _Norms("second", name="second_norm")(1),
            "shift": self.param("shift", nn.initializers.constant(5.0), ()),
        }
        return _voted(gate, _read(gate, *features))


NORM = 3**-0.5
"""Of a fresh kernel row: that of one drawn as PyTorch draws it, uniform in ±1/√in."""


def _rows_of_equal_norm(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "F H"]:
    kernel = nn.linear.default_kernel_init(key, shape)
    return NORM * kernel / jnp.linalg.norm(kernel, axis=0)


class _Affine(nn.Module):
    width: int

    @nn.compact
    def __call__(self, inputs: int) -> dict[str, Array]:
        kernel = self.param("kernel", _rows_of_equal_norm, (inputs, self.width))
        return {"kernel": kernel, "bias": self.param("bias", nn.initializers.zeros, (self.width,))}


class _Norms(nn.Module):
    of: str

    @nn.compact
    def __call__(self, width: int) -> dict[str, Float[Array, " H"]]:
        name = f"{self.of}/kernel/scale"  # as `flax.linen.WeightNorm` calls it
        return {name: self.param(name, nn.initializers.constant(NORM), (width,))}


def _normalised(gate: Any, name: str) -> Float[Array, "F H"]:
    """scale · W/‖W‖, column by column."""
    kernel, scale = gate[name]["kernel"], gate[f"{name}_norm"][f"{name}/kernel/scale"]
    return kernel * (scale * jax.lax.rsqrt(jnp.sum(kernel**2, axis=0) + 1e-12))


def _read(gate: Any, *features: Float[Array, "B T _"]) -> Float[Array, "B T H"]:
    """W·x: of every part of x with its own rows of the kernel."""
    ends = np.cumsum([feature.shape[-1] for feature in features])
    rows = jnp.split(_normalised(gate, "first"), ends[:-1])
    return functools.reduce(operator.add, map(operator.matmul, features, rows))


def _voted(gate: Any, read: Float[Array, "*B T H"]) -> Float[Array, "*B T"]:
    """10·tanh(w·tanh(W·x + b) + b') + c from W·x, with the parameters of one gate network."""
    x = jnp.tanh(read + gate["first"]["bias"]) @ _normalised(gate, "second")
    return 10 * jnp.tanh(x + gate["second"]["bias"])[..., 0] + gate["shift"]


def _behind_first(gate: Any) -> Any:
    """The parameters of a gate network but those that `_read` has used."""
    return {**gate, "first": {"bias": gate["first"]["bias"]}, "first_norm": {}}


class Probe(NamedTuple):
    """What sets the two probes apart; everything else treats them alike.

    gate: what it gates, in words
    features: (states, k) -> arrays (B, T, _), what the k-th gate network reads
    votes: depth -> the layers whose votes make its gate, by an associative operation
    combine: the votes of all layers, and that operation -> the gates of all depths
    target: depth -> the state that its gate multiplies
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
    """The probe that gates the input, conditioned on the states up to a layer."""
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
"""The probe of each kind of gate: width of the gate networks' hidden layer -> probe."""


def init(
    key: Key[Array, ""], probe: Probe, states: States, baselines: Sequence[Float[Array, " _"]]
) -> dict[str, Any]:
    """Fresh parameters: one gate network a state of `states`, and the given baselines.

    Raises: ValueError if the number or width of the baselines does not suit the states.
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


SPREAD = 1.0, 0.05
"""Standard deviations, over positions, of what the two tanhs of a calibrated network are given."""

TINY = 1e-3  # below this deviation a state says the same everywhere, and is not blown up


def calibrated(
    probe: Probe, params: dict[str, Any], states: States, valid: Bool[Array | np.ndarray, "B T"]
) -> dict[str, Any]:
    """The same probe, its gate networks set to the scale of the states that they will read.

    Data-dependent initialisation (Salimans & Kingma 2016, section 3): t = W·x/‖W‖ has mean μ and
    deviation σ over the valid positions; then scale = s/σ and bias = −s·μ/σ, `SPREAD` being s. So
    no network, however small or large its states, is one that hardly tells tokens apart or one
    whose tanhs are shut, and all votes start near c, whatever the seed.
    """

    def at_layer(layer: int, gate: Any) -> Any:
        x = jnp.concatenate(probe.features(states, layer), axis=-1).astype(jnp.float32)
        new = dict(gate)
        for name, spread in zip(("first", "second"), SPREAD, strict=True):
            kernel = gate[name]["kernel"]
            t = x @ (kernel / jnp.linalg.norm(kernel, axis=0))
            mean = jnp.mean(t, axis=(0, 1), where=valid[..., None])
            scale = spread / jnp.maximum(jnp.std(t, axis=(0, 1), where=valid[..., None]), TINY)
            new[name] = gate[name] | {"bias": -scale * mean}
            new[f"{name}_norm"] = {f"{name}/kernel/scale": scale}
            x = jnp.tanh(scale * (t - mean))
        return new

    gates = [at_layer(layer, gate) for layer, gate in enumerate(params["gates"])]
    return params | {"gates": gates}


def vote_logits(probe: Probe, params: Any, states: States) -> Votes:
    """The Hard Concrete logits of every layer's vote, (B, T) each."""
    gates = params["gates"]
    reads = [_read(gate, *probe.features(states, layer)) for layer, gate in enumerate(gates)]
    own = jax.tree.map(lambda *parts: jnp.stack(parts), *map(_behind_first, gates))
    return tuple(jax.vmap(_voted)(own, jnp.stack(reads)))


def _vote(probe: Probe, params: Any, states: States, layer: int) -> Float[Array, "B T"]:
    """The same of one layer alone."""
    gate = params["gates"][layer]
    return _voted(gate, _read(gate, *probe.features(states, layer)))


def sample_gates(probe: Probe, key: Key[Array, ""], votes: Votes) -> Votes:
    """One draw of the gates in [0, 1] at every layer; layers of one input share their votes."""
    draws = jax.vmap(hard_concrete.sample)(jax.random.split(key, len(votes)), jnp.stack(votes))
    return probe.combine(tuple(draws), operator.mul)


def log_keep_probabilities(probe: Probe, votes: Votes) -> Votes:
    """log P(z ≠ 0) at every layer, nats, (B, T) each."""
    logs = hard_concrete.log_keep_probability(jnp.stack(votes))
    return probe.combine(tuple(logs), operator.add)


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
    layers = [*probe.votes(layer)]
    votes = jnp.stack([_vote(probe, params, states, k) for k in layers])
    keys = jax.vmap(functools.partial(jax.random.split, num=len(states)))(keys)[:, np.array(layers)]
    draws = jax.vmap(jax.vmap(hard_concrete.sample), in_axes=(1, 0))(keys, votes)
    return Drawn(
        gates=functools.reduce(operator.mul, draws),
        log_keep=jnp.sum(hard_concrete.log_keep_probability(votes), axis=0),
        squares=jnp.sum(votes**2, axis=0),
    )


def _draw_by_row(
    probe: Probe, params: Any, keys: Key[Array, " B"], states: States, depths: Depths
) -> Drawn:
    """The same where every example plays a depth of its own, known to the program: each has only
    the votes that it needs, where a traced depth has to have them all."""
    layers = range(len(states))
    needed = np.array([[layer in probe.votes(depth) for depth in depths] for layer in layers])
    votes = _needed_votes(probe, params["gates"], states, needed)
    keys = jax.vmap(functools.partial(jax.random.split, num=len(layers)))(keys)
    draws = jax.vmap(jax.vmap(hard_concrete.sample), in_axes=(1, 0))(keys, votes)
    logs, needed = hard_concrete.log_keep_probability(votes), needed[..., None]
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
        _read(gate, *rows_of(probe.features(states, layer), rows))
        for layer, gate in enumerate(gates)
        if (rows := np.flatnonzero(needed[layer])).size
    ]
    voters = np.eye(len(gates), dtype=np.float32)[np.nonzero(needed)[0]]

    def of_voters(*own: Float[Array, "..."]) -> Float[Array, "V ..."]:
        # A product, whose gradient is one as well; that of a look-up is a loop.
        return jnp.tensordot(voters, jnp.stack(own), axes=1, precision="highest")

    own = jax.tree.map(of_voters, *map(_behind_first, gates))
    votes = jax.vmap(_voted)(own, jnp.concatenate(reads))
    number = np.cumsum(needed).reshape(needed.shape) - 1
    return votes[np.maximum(number, 0)]


def at_layer(per_layer: PerLayer, layer: Layer) -> Array:
    """The entry of one layer, by an int or by a traced scalar.

    Entries of different width are as wide as the widest where the layer is traced, zeros behind.
    """
    return per_layer[layer] if isinstance(layer, int) else jnp.stack(equally_wide(per_layer))[layer]


def equally_wide(arrays: PerLayer) -> PerLayer:
    """Arrays (…, D₁), (…, D₂), … as wide as the widest, with zeros behind the narrower ones."""
    widest = max(array.shape[-1] for array in arrays)
    return tuple(widened(array, widest) for array in arrays)


def widened(array: Float[Array, "*b D"], width: int) -> Float[Array, "*b _"]:
    """An array of a width, with zeros behind what it has."""
    lacking = width - array.shape[-1]
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, lacking)]) if lacking else array
