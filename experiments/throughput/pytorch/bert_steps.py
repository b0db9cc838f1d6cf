"""DiffMask's step on BERT in optimised PyTorch, without any superfluous pass or block.

One masked pass serves both players, the clean pass has no graph and may be looked up, the masked
one resumes at its state, and the batches are the same as JAX's.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from experiments.throughput.pytorch import bert
from experiments.throughput.pytorch import players as torch_players
from experiments.throughput.pytorch.bert import Network
from experiments.throughput.pytorch.bert_gates import Gating, Layers, Masked, States
from experiments.throughput.pytorch.players import (
    Moving,
    Noise,
    Optimisers,
    Outcome,
    Players,
    Product,
    Weights,
)


class Stakes(NamedTuple):
    """The constants of the objective: m, in nats, and ε (`Game.pull`)."""

    margin: float
    pull: float


class Way(NamedTuple):
    """How a step is computed; its results do not depend on it.

    product: matrix products of the probe
    block: `bert.run_block`, with other products, or compiled
    cls: whether the last block computes only the first row, the only one that a classifier reads
    """

    product: Product
    block: Callable[..., Tensor]
    cls: bool


class Play(NamedTuple):
    """A game in progress: the frozen network, both players and their optimisers."""

    network: Network
    players: Players
    gating: Gating
    stakes: Stakes
    noise: Noise
    moved: Optimisers
    way: Way


class Batch(NamedTuple):
    """A padded batch as `TextInputs`, and its clean pass: float32 logits and all states.

    If each example plays its own depth, the lowest come first.
    """

    segments: Tensor
    valid: Tensor
    logits: Tensor
    states: States


def start(
    network: Network,
    weights: Weights,
    gating: Gating,
    stakes: Stakes,
    moving: Moving,
    noise: Noise,
    way: Way,
) -> Play:
    """The game before its first step, from `player_weights`. moving: players -> optimisers."""
    players = torch_players.players(weights).to(network.word.device)
    return Play(network, players, gating, stakes, noise, moving(players), way)


def clean(play: Play, tokens: Tensor, segments: Tensor, valid: Tensor) -> Batch:
    """A batch and its clean pass."""
    logits, states = bert.clean_pass(play.network, tokens, segments, valid, play.way.block)
    return Batch(segments, valid, logits, lambda k, rows: states[k][rows])


def lean_pass(play: Play, batch: Batch, layer: Layers) -> Outcome:
    """Both players' gradients from one masked pass."""
    masked = play.gating(play.players, batch.states, layer, play.noise, play.way.product)
    logits = bert.resume(
        play.network,
        masked.states,
        batch.segments,
        batch.valid,
        play.way.block,
        play.way.cls,
    )
    return game(play.players, batch.valid, masked, batch.logits, logits, layer, play.stakes)


def lean_step(play: Play, batch: Batch, layer: Layers) -> Outcome:
    """A step of both players from one pass."""
    outcome = lean_pass(play, batch, layer)
    play.moved.primal.step()
    play.moved.dual.step()
    torch_players.end_step(play.players, play.moved)
    return outcome


def game(
    players: Players,
    valid: Tensor,
    masked: Masked,
    original: Tensor,
    logits: Tensor,
    layer: Layers,
    stakes: Stakes,
) -> Outcome:
    """The gradients of expected share kept + λ·(KL − m) + ε/2·Σ a², averaged over each layer's
    examples first, as in `diffmask_jax.game.objective`."""
    terms = masked.log_keep.exp() + stakes.pull / 2 * masked.squares
    sparsity = (terms * valid).sum(-1) / valid.sum(-1)
    shares = None
    if not isinstance(layer, int):
        counts = torch.bincount(layer)
        shares = 1 / (counts[layer] * (counts > 0).sum())
    return torch_players.backward(
        sparsity, divergence(original, logits), players.multipliers[layer], stakes.margin, shares
    )


def divergence(original: Tensor, masked: Tensor) -> Tensor:
    """KL(original ‖ masked), nats (B,): of classes (B, C), or of starts and ends (B, T, 2)."""
    log_p = log_softmax(original, dim=1)
    terms = log_p.exp() * (log_p - log_softmax(masked, dim=1))
    return terms.flatten(1).sum(-1)
