"""The amortised loss: what one batch says to both players (paper, section 2)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.game import probes
from diffmask_jax.game.divergences import Logits
from diffmask_jax.game.drawing import Depths, draw
from diffmask_jax.game.lagrangian import lagrangian
from diffmask_jax.game.masking import mask_state, mean_over_valid
from diffmask_jax.game.model import Layer, Model, States, at_layer, rows_of, staircase
from diffmask_jax.game.probes import Probe


class Clean(NamedTuple):
    """A batch and what the frozen model makes of it unmasked."""

    inputs: Any
    logits: Logits
    states: States


class Game(NamedTuple):
    """What is being played: on which model, by which probe, for which stakes.

    margin: m, the divergence allowed, in nats
    sparsity: (log keep probabilities (B, T), valid) -> (B,), what the probe minimises
    pull: ε, how strongly votes are held where they can still move, see `objective`
    """

    model: Model
    probe: Probe
    margin: float
    sparsity: Callable[[Array, Array], Array]
    pull: float = 0.0


class Diagnostics(NamedTuple):
    """What a step tells of every layer, for people and for λ: nothing is optimised through it.

    played: the share of the batch that played each layer; divergence (nats), masked and agreement
    (shares): what those examples add to the means of the whole batch; multiplier: λ.
    """

    loss: Float[Array, ""]
    played: Float[Array, " L"]
    divergence: Float[Array, " L"]
    masked: Float[Array, " L"]
    agreement: Float[Array, " L"]
    multiplier: Float[Array, " L"]


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
    game: Game,
    model_params: Any,
    probe_params: Any,
    clean: Clean,
    gate: Float[Array, "B T"],
    layer: Layer | Depths,
) -> Logits:
    """The model's output with the gated state in place of the original one."""
    target = game.probe.target(layer)
    if isinstance(target, np.ndarray):
        return _masked_by_row(game, model_params, probe_params, clean, gate, target)
    state = at_layer(clean.states, target)
    baseline = at_layer(tuple(probe_params["baselines"]), target)
    masked = mask_state(state, gate, baseline)
    return game.model.logits_from(model_params, clean.inputs, masked, target)


def _masked_by_row(
    game: Game,
    model_params: Any,
    probe_params: Any,
    clean: Clean,
    gate: Float[Array, "B T"],
    target: Depths,
) -> Logits:
    """The same where every row is masked at a state of its own, in one pass that they join."""
    rows = [np.flatnonzero(target == layer) for layer in range(len(clean.states))]
    masked = tuple(
        mask_state(rows_of(state, here), rows_of(gate, here), baseline)
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
    layer: Layer | Depths,
    *,
    game: Game,
    model_params: Any,
    clean: Clean,
) -> tuple[Float[Array, ""], Diagnostics]:
    """mean of L₀ + sg(λ)·(D − m) − λ·sg(D − m) + ε/2·Σ a², with one draw of the gates.

    The mean is over the examples of a layer first, then over the layers in play. The last term, its
    sum over the votes a of a gate and its mean over positions, is no part of the paper's game: a
    vote far from 0 is drawn alike whatever it is, so that no gradient would bring it back.

    keys: one an example, so that its gates do not depend on who else is in the batch.
    layer: the depth ℓ whose gate is played, by all examples or by each its own.
    """
    valid, family = clean.inputs.valid, game.model.family
    drawn = draw(game.probe, probe_params, keys, clean.states, layer)
    logits = masked_logits(game, model_params, probe_params, clean, drawn.gates, layer)

    divergence = family.divergence(clean.logits, logits)
    sparsity = game.sparsity(drawn.log_keep, valid)
    plays = jax.nn.one_hot(jnp.broadcast_to(jnp.asarray(layer), len(valid)), len(multipliers))
    played = jnp.mean(plays, axis=0)
    losses = lagrangian(sparsity, divergence - game.margin, plays @ multipliers)
    losses += game.pull / 2 * mean_over_valid(drawn.squares, valid)
    loss = jnp.mean(losses / (plays @ played)) / jnp.sum(played > 0)
    agreement = family.agreement(family.prediction(clean.logits), family.prediction(logits))
    masked = mean_over_valid((drawn.gates == 0).astype(jnp.float32), valid)
    diagnostics = Diagnostics(
        loss=loss,
        played=played,
        divergence=divergence @ plays / len(valid),
        masked=masked @ plays / len(valid),
        agreement=agreement @ plays / len(valid),
        multiplier=multipliers,
    )
    return loss, jax.lax.stop_gradient(diagnostics)
