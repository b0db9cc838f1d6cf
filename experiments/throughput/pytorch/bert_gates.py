"""What both probes do to the states of a network in PyTorch, as `diffmask_jax.game.probes`."""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from experiments.throughput.pytorch import players as torch_players
from experiments.throughput.pytorch.players import Noise, Players, Product

Layers = int | Tensor
"""The depth that is played: one for the batch, or one an example (B,), for the input probe only."""


class Masked(NamedTuple):
    """A state under one draw of its gates, and what the game says about them.

    target: which state it takes the place of
    log_keep: log P(z ≠ 0) (B, T)
    """

    state: Tensor
    target: int
    log_keep: Tensor


Gating = Callable[..., Masked]
"""(players, states, layer, noise, product) -> the masked state."""


def mask_input(
    players: Players,
    states: Sequence[Tensor],
    layer: Layers,
    noise: Noise,
    product: Product = linear,
) -> Masked:
    """The input under the product of the votes up to a depth; no vote above it is taken."""
    states = list(states)  # each looked up once
    words = states[0].float()
    top = layer if isinstance(layer, int) else len(states) - 1
    logits = [players.gates[k](words, states[k].float(), product=product) for k in range(top + 1)]
    draws = [torch_players.gate(vote, noise(k, vote.shape)) for k, vote in enumerate(logits)]
    z = _at(draws, layer, operator.mul)
    log_keep = _at([torch_players.log_keep(vote) for vote in logits], layer, operator.add)
    return Masked(torch_players.mask(states[0], z, players.baselines[0]), 0, log_keep)


def mask_hidden(
    players: Players,
    states: Sequence[Tensor],
    layer: int,
    noise: Noise,
    product: Product = linear,
) -> Masked:
    """A state under its own vote."""
    logits = players.gates[layer](states[layer].float(), product=product)
    z = torch_players.gate(logits, noise(layer, logits.shape))
    masked = torch_players.mask(states[layer], z, players.baselines[layer])
    return Masked(masked, layer, torch_players.log_keep(logits))


GATINGS: dict[str, Gating] = {"input": mask_input, "hidden": mask_hidden}


def _at(votes: list[Tensor], layer: Layers, operation: Callable) -> Tensor:
    if isinstance(layer, int):
        return functools.reduce(operation, votes)
    depths = torch.stack(list(itertools.accumulate(votes, operation)))
    return depths[layer, torch.arange(len(layer), device=layer.device)]
