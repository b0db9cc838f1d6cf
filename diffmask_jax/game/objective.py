"""The amortised loss that both players learn from (paper, section 2)."""

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
    """A batch, and the frozen model's logits and states for it, unmasked."""

    inputs: Any
    logits: Logits
    states: States


class Game(NamedTuple):
    """The game itself: the model, the probe and the terms of the objective.

    margin: m, the divergence allowed, in nats
    sparsity: (log keep probabilities (B, T), valid) -> (B,), L₀, which the probe minimises
    pull: ε, the weight of the term that keeps votes from saturating, see `objective`
    """

    model: Model
    probe: Probe
    margin: float
    sparsity: Callable[[Array, Array], Array]
    pull: float = 0.0


class Diagnostics(NamedTuple):
    """A step's measurements of every layer; no gradient flows through them.

    loss: the value of the objective
    played: the share of the batch that played each layer
    divergence (nats), masked and agreement (shares): the contributions of those examples to the
        means over the whole batch
    multiplier: λ
    """

    loss: Float[Array, ""]
    played: Float[Array, " L"]
    divergence: Float[Array, " L"]
    masked: Float[Array, " L"]
    agreement: Float[Array, " L"]
    multiplier: Float[Array, " L"]


def mean_log_keep(log_keep: Float[Array, "B T"], valid: Bool[Array, "B T"]) -> Float[Array, " B"]:
    """Mean log P(z ≠ 0) over valid positions, in nats: the authors' L₀.

    Its gradient does not vanish as a gate closes, which drives keep probabilities to exact zeros.
    """
    return mean_over_valid(log_keep, valid)


def mean_keep(log_keep: Float[Array, "B T"], valid: Bool[Array, "B T"]) -> Float[Array, " B"]:
    """Expected share of positions kept: the paper's L₀ (eq. 1) by the number of positions."""
    return mean_over_valid(jnp.exp(log_keep), valid)


def clean_pass(model: Model, model_params: Any, inputs: Any) -> Clean:
    """The unmasked forward pass; no gradient ever flows into it."""
    return Clean(inputs, *model.states(model_params, inputs))


def log_keep_everywhere(game: Game, probe_params: Any, clean: Clean) -> Float[Array, "L B T"]:
    """log P(z ≠ 0) of every layer's gate, nats."""
    votes = probes.vote_logits(game.probe, probe_params, clean.states)
    return jnp.stack(probes.log_keep_probabilities(game.probe, votes))


def keep_probabilities(
    game: Game, model_params: Any, probe_params: Any, inputs: Any
) -> tuple[Logits, Float[Array, "L B T"]]:
    """The model's logits for a batch, and P(z ≠ 0) of every layer's gates."""
    clean = clean_pass(game.model, model_params, inputs)
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
    """`masked_logits` where each row is masked at its own depth: one pass that the rows join."""
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

    The mean is over the examples of a layer first, then over the layers in play. The last term, a
    sum over the votes a of a gate and a mean over positions, is not part of the paper's game: the
    draw of a vote far from 0 hardly depends on it, so that no gradient would bring it back.

    keys: one per example, so that its gates do not depend on the rest of the batch
    layer: the depth ℓ whose gates are played, by all examples or by each its own
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
