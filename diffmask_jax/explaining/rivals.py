"""Is a probe more faithful to the network than other methods? Their rankings of tokens, compared.

All are judged in the same way (`analysis.removal`): removed tokens are replaced by the embedding of
"no word" in the network's first state (`no_word_states`), from which the forward pass resumes;
special tokens always stay.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffmask_jax.analysis import removal
from diffmask_jax.analysis.bootstrap import Interval, grouped_interval
from diffmask_jax.analysis.removal import Measures
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.attention import received_of_all
from diffmask_jax.attribution.integrated_gradients import completed
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import explained
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.sources import Sources
from diffmask_jax.game.masking import mask_state
from diffmask_jax.game.objective import Clean, Game, clean_pass, log_keep_everywhere
from diffmask_jax.game.probes import Probe
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.training import setup

SETS = 32  # sets of tokens judged in one pass
GAP, STEPS = 0.05, 100  # integrated gradients: the tolerated gap, or else the most steps
WIDTH = 2  # of the beams that search for the best and the worst order
LENGTHS = tuple(2**power for power in range(4, 21))
"""To which texts are padded: few, since a text's programs take longer to compile than to run."""
LONGEST = 40  # tokens: longer texts' orders are not searched
PROBE, RANDOM = "DiffMask", "Random"


Means = dict[str, Interval]
"""The mean and interval of each of `Measures`."""


class Rivalry(NamedTuple):
    """The `Measures` of the rankings of K methods, the probe's first, on N texts.

    searched: how many texts were short enough to search for their best and worst orders
    masked: the mean share of a text's tokens that the probe, and so every method, drops
    sources: what intervals and marks are over
    """

    methods: tuple[str, ...]
    measures: Float[np.ndarray, "K N 6"]
    searched: int
    masked: float
    sources: Sources

    def means(self) -> dict[str, Means]:
        """The mean of each measure for each method, over the texts for which it is defined."""
        return {
            name: _intervals(own, self.sources.numbers)
            for name, own in zip(self.methods, self.measures, strict=True)
        }

    def differences(self) -> dict[str, Means]:
        """The probe's mean minus each other method's, by the paired bootstrap."""
        probe, *others = self.measures
        return {
            name: _intervals(probe - other, self.sources.numbers)
            for name, other in zip(self.methods[1:], others, strict=True)
        }

    def drawn(self) -> dict[str, int]:
        """The number of sources that have a number, for each measure: what an interval rests on."""
        known = np.isfinite(self.measures[0])
        return {
            name: len(set(np.array(self.sources.numbers)[column].tolist()))
            for name, column in zip(Measures._fields, known.T, strict=True)
        }


def rivalry(explainer: Explainer, encoded: Sequence[Encoded], sources: Sources) -> Rivalry:
    """The probe against integrated gradients, leave-one-out, attention and random orders.

    The probe ranks by its deepest gate on the input: that of the last layer, or, for a probe of
    hidden states, of the first. Every method keeps as many tokens of a text as that gate does.

    sources: those of the texts

    Raises: ValueError if there is no text.
    """
    model, game = explainer.model, explainer.game
    nothing = setup.no_word_states(model, setup.sample(encoded))[0]
    attribute = functools.partial(jax.jit(_attributions, static_argnums=0), game)
    judge = functools.partial(jax.jit(_probabilities, static_argnums=0), game)
    names = [PROBE, "Integrated gradients", "Leave one out"]
    names += ["Attention"] * (game.model.attention is not None) + [RANDOM]
    measures: list[list[Measures]] = []
    masked: list[float] = []
    for text in followed(encoded, "other methods", sources.examples):
        length = batches.shortest_of(LENGTHS, len(text.ids), model.config.positions)
        inputs = batches.pad([text], length)
        clean, found = attribute(*explainer.params, nothing, inputs)
        value = functools.partial(_value, judge, explainer.params[0], nothing, clean)
        random = np.random.default_rng(len(measures)).random((1, found.shape[-1]))
        orders = np.concatenate([np.asarray(found[:, 0]), random])
        removable = _removable(text, found.shape[-1])
        kept = int((removable & (orders[0] > 0.5)).sum())
        measures.append(_measure(value, orders, removable, kept))
        masked.append(1 - kept / max(removable.sum(), 1))
    searched = sum(_removable(text).sum() <= LONGEST for text in encoded)
    together = np.array(measures).swapaxes(0, 1)
    return Rivalry(tuple(names), together, int(searched), float(np.mean(masked)), sources)


def gate_on_input(probe: Probe, layers: int) -> int:
    """The deepest layer whose gate multiplies the network's first state."""
    return max(layer for layer in range(layers) if probe.target(layer) == 0)


def _attributions(
    game: Game, params: Any, probe_params: Any, nothing: Float[Array, " D"], inputs: TextInputs
) -> tuple[Clean, Float[Array, "K B T"]]:
    """The attributions of all methods but the random one to the first state; the clean pass."""
    clean = clean_pass(game.model, params, inputs)
    keep = log_keep_everywhere(game, probe_params, clean)
    absent = Statistics(mean=nothing, deviation=jnp.zeros_like(nothing))
    subject = explained(game.model, params, clean, absent, 0)
    attributions = [
        jnp.exp(keep[gate_on_input(game.probe, len(keep))]),
        methods.integrated_by(subject, functools.partial(completed, tolerance=GAP, most=STEPS)),
        methods.leave_one_out(jax.random.key(0), subject),  # nothing is drawn
    ]
    if game.model.attention is not None:
        weights = game.model.attention(params, inputs, clean.states)
        attributions.append(received_of_all(weights, inputs.valid))
    return clean, jnp.stack(attributions)


def _probabilities(
    game: Game, params: Any, nothing: Float[Array, " D"], clean: Clean, left: Bool[Array, "R T"]
) -> Float[Array, " R"]:
    """exp(−surprisal) of one text's decision, given only some of its tokens."""
    family = game.model.family
    repeated = jax.tree.map(lambda a: jnp.repeat(jnp.asarray(a), len(left), axis=0), clean)
    state = mask_state(repeated.states[0], left.astype(jnp.float32), nothing)
    logits = game.model.logits_from(params, repeated.inputs, state, 0)
    return jnp.exp(-family.surprisal(logits, family.prediction(repeated.logits)))


def _value(
    judge: Any, params: Any, nothing: Any, clean: Clean, left: Bool[np.ndarray, "R T"]
) -> Float[np.ndarray, " R"]:
    """`_probabilities` for any number of sets, SETS at a time, so that one program serves all."""
    values = []
    for start in range(0, len(left), SETS):
        some = left[start : start + SETS]
        filled = np.concatenate([some, np.repeat(some[:1], SETS - len(some), axis=0)])
        values.append(np.asarray(judge(params, nothing, clean, filled))[: len(some)])
    return np.concatenate(values)


def _removable(text: Encoded, length: int | None = None) -> Bool[np.ndarray, " T"]:
    """All tokens but the special ones; padded to a length."""
    own = text.parts >= 0
    return np.pad(own, (0, (length or len(own)) - len(own)))


def _measure(
    value: removal.Value,
    attributions: Float[np.ndarray, "K T"],
    removable: Bool[np.ndarray, " T"],
    kept: int,
) -> list[Measures]:
    """The measures of every method on one text. kept: how many removable tokens each keeps."""
    orders = [removal.order_of(each, removable) for each in attributions]
    curves = [removal.curves_of(value, order, len(removable)) for order in orders]
    bounds = None
    if removable.sum() <= LONGEST:
        bounds = removal.bounds_of(value, removable, WIDTH, curves)
    return [removal.measures_of(each, kept, bounds) for each in curves]


def _intervals(values: Float[np.ndarray, "N 6"], sources: Sequence[int]) -> Means:
    """Means over the texts that have a number; NaN if none has."""

    def interval(column: Float[np.ndarray, " N"]) -> Interval:
        known = np.isfinite(column)
        if not known.any():
            return Interval(*np.full(3, np.nan))
        return grouped_interval(column[known], np.array(sources)[known].tolist())

    return dict(zip(Measures._fields, map(interval, values.T), strict=True))
