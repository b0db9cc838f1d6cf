"""The amortised loss: what one batch says to both players (paper, section 2)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.game import probes
from diffmask_jax.game.divergences import Logits
from diffmask_jax.game.lagrangian import lagrangian
from diffmask_jax.game.masking import mask_state, mean_over_valid
from diffmask_jax.game.model import Model, States, rows_of, staircase
from diffmask_jax.game.probes import Layers, Probe


class Clean(NamedTuple):
    """A batch and what the frozen model makes of it unmasked."""

    inputs: Any
    logits: Logits
    states: States


class Game(NamedTuple):
    """What is being played: on which model, by which probe, for which stakes.

    sparsity: (log keep probabilities (B, T), valid) -> (B,), what the probe minimises
    margin: m, the divergence allowed, in nats
    """

    model: Model
    probe: Probe
    margin: float
    sparsity: Callable[[Array, Array], Array]


class Diagnostics(NamedTuple):
    """Batch means, for people to watch: nothing is optimised through them."""

    loss: Float[Array, ""]
    divergence: Float[Array, ""]
    masked: Float[Array, ""]
    agreement: Float[Array, ""]
    multiplier: Float[Array, ""]


def mean_log_keep(log_keep: Float[Array, "B T"], valid: Bool[Array, "B T"]) -> Float[Array, " B"]:
    """Mean log P(z ≠ 0) over valid positions, in nats: the authors' L₀.

    Its gradient does not fade as a gate shuts, which drives keep probabilities to sharp zeros.
    """
    return mean_over_valid(log_keep, valid)


def mean_keep(log_keep: Float[Array, "B T"], valid: Bool[Array, "B T"]) -> Float[Array, " B"]:
    """Expected share of positions kept: the paper's L₀ (eq. 1) over the number of positions."""
    return mean_over_valid(jnp.exp(log_keep), valid)


def clean_pass(game: Game, model_params: Any, inputs: Any) -> Clean:
    """The unmasked forward pass; no gradient ever flows into it."""
    logits, states = game.model.states(model_params, inputs)
    return Clean(inputs, logits, states)


def log_keep_everywhere(game: Game, probe_params: Any, clean: Clean) -> Float[Array, "L B T"]:
    """log P(z ≠ 0) of every layer's gate, nats."""
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    return jnp.stack(probes.log_keep_probabilities(game.probe, votes))


def keep_probabilities(
    game: Game, model_params: Any, probe_params: Any, inputs: Any
) -> tuple[Logits, Float[Array, "L B T"]]:
    """The model's logits, and P(z ≠ 0) of every layer's gate: a probe's answer for a batch."""
    clean = clean_pass(game, model_params, inputs)
    return clean.logits, jnp.exp(log_keep_everywhere(game, probe_params, clean))


def masked_logits(
    game: Game, model_params: Any, probe_params: Any, clean: Clean, gate: Array, layer: Layers
) -> Logits:
    """The model's output with the gated state in place of the original one."""
    target = game.probe.target(layer)
    if isinstance(target, np.ndarray):
        return _masked_by_row(game, model_params, probe_params, clean, gate, target)
    state = probes.at_layer(clean.states, target)
    baseline = probes.at_layer(tuple(probe_params["baselines"]), target)
    masked = mask_state(state, gate, baseline)
    return game.model.logits_from(model_params, clean.inputs, masked, target)


def _masked_by_row(
    game: Game,
    model_params: Any,
    probe_params: Any,
    clean: Clean,
    gate: Float[Array, "B T"],
    target: Int[np.ndarray, " B"],
) -> Logits:
    """The same where every row is masked at a state of its own, in one pass that they join."""
    rows = [np.flatnonzero(target == layer) for layer in range(len(clean.states))]
    masked = tuple(
        mask_state(state[here], gate[here], baseline)
        for here, state, baseline in zip(rows, clean.states, probe_params["baselines"], strict=True)
    )
    order = np.concatenate(rows)
    logits = staircase(game.model, model_params, rows_of(clean.inputs, order), masked)
    back: Logits = rows_of(logits, np.argsort(order))
    return back


def objective(
    probe_params: Any,
    multipliers: Float[Array, " L"],
    keys: Key[Array, " B"],
    layer: Layers,
    *,
    game: Game,
    model_params: Any,
    clean: Clean,
) -> tuple[Float[Array, ""], Diagnostics]:
    """mean over the batch of L₀ + sg(λ)·(D − m) − λ·sg(D − m), with one draw of the gates.

    keys: one an example, so that its gates do not depend on who else is in the batch.
    layer: the depth ℓ whose gate is played: one for the batch or one an example, as a NumPy array
    where the probe masks another state at each depth.
    """
    valid = clean.inputs.valid
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    draw = functools.partial(probes.sample_gates, game.probe)
    gate = probes.at_layer(jax.vmap(draw)(keys, votes), layer)
    log_keep = probes.at_layer(probes.log_keep_probabilities(game.probe, votes), layer)
    logits = masked_logits(game, model_params, probe_params, clean, gate, layer)

    family = game.model.family
    divergence = family.divergence(clean.logits, logits)
    sparsity = game.sparsity(log_keep, valid)
    multiplier = multipliers[jnp.asarray(layer)]
    loss = jnp.mean(lagrangian(sparsity, divergence - game.margin, multiplier))
    agreement = family.agreement(family.prediction(clean.logits), family.prediction(logits))
    diagnostics = Diagnostics(
        loss=loss,
        divergence=jnp.mean(divergence),
        masked=jnp.mean(mean_over_valid((gate == 0).astype(jnp.float32), valid)),
        agreement=jnp.mean(agreement),
        multiplier=jnp.mean(multiplier),
    )
    return loss, jax.lax.stop_gradient(diagnostics)
