"""The gates of both probes in PyTorch, like `diffmask_jax.game.probes`."""

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from experiments.throughput.pytorch import players as torch_players
from experiments.throughput.pytorch.players import Noise, Players, Product

Layers = int | Tensor
"""The depth that is played: one for the batch, or one per example (B,), the lowest first."""


States = Callable[[int, slice], Tensor]
"""(state, rows) -> these rows of a state, which comes from a pass or is looked up."""


class Masked(NamedTuple):
    """States masked by one draw of their gates, and the quantities of the game.

    states: the masked states by number, each for the rows that come next
    log_keep: log P(z ≠ 0) (B, T)
    squares: Σ a² over the votes of a gate (B, T)
    """

    states: dict[int, Tensor]
    log_keep: Tensor
    squares: Tensor


class Told(NamedTuple):
    """One vote: its draw, log P(v ≠ 0) and a², (N, T) each."""

    draw: Tensor
    log_keep: Tensor
    square: Tensor


Gating = Callable[..., Masked]
"""(players, states, layer, noise, product) -> the masked state."""


def mask_input(
    players: Players,
    states: States,
    layer: Layers,
    noise: Noise,
    product: Product = linear,
) -> Masked:
    """The input masked by the product of each row's votes up to its depth."""
    input_ = states(0, slice(None))
    words = input_.float()
    gate: list[Tensor] = []
    for k, first in enumerate(_starts(layer, len(players.gates))):
        if first < len(words):  # the rows of depth k or more are the last ones
            state = words if k == 0 else states(k, slice(first, None)).float()
            told = _told(players, k, (words[first:], state), noise, product)
            gate = list(told) if k == 0 else _onto(gate, told, first)
    z, log_keep, squares = gate
    masked = torch_players.mask(input_, z, players.baselines[0])
    return Masked({0: masked}, log_keep, squares)


def mask_hidden(
    players: Players,
    states: States,
    layer: Layers,
    noise: Noise,
    product: Product = linear,
) -> Masked:
    """States masked by their own votes, each for the rows that play it."""
    masked, tolds = {}, []
    for k, rows in _played(layer, len(players.gates)):
        state = states(k, rows)
        told = _told(players, k, (state.float(),), noise, product)
        masked[k] = torch_players.mask(state, told.draw, players.baselines[k])
        tolds.append(told)
    _, log_keep, squares = (torch.cat(parts) for parts in zip(*tolds, strict=True))
    return Masked(masked, log_keep, squares)


GATINGS: dict[str, Gating] = {"input": mask_input, "hidden": mask_hidden}


def _told(
    players: Players, k: int, features: Sequence[Tensor], noise: Noise, product: Product
) -> Told:
    vote = players.gates[k](*features, product=product)
    draw = torch_players.gate(vote, noise(k, vote.shape))
    return Told(draw, torch_players.log_keep(vote), vote**2)


def _onto(gate: Sequence[Tensor], told: Told, first: int) -> list[Tensor]:
    """A gate with one more vote for the rows from `first` on."""
    operations = (operator.mul, operator.add, operator.add)
    return [
        torch.cat([old[:first], operation(old[first:], new)])
        for old, new, operation in zip(gate, told, operations, strict=True)
    ]


def _starts(layer: Layers, layers: int) -> list[int]:
    """The first row of each depth or a higher one; the number of rows if there is none."""
    if isinstance(layer, int):
        return [0] * (layer + 1)
    depths = torch.arange(layers + 1, device=layer.device)
    return torch.searchsorted(layer, depths).tolist()[:layers]


def _played(layer: Layers, layers: int) -> Iterator[tuple[int, slice]]:
    """The depths that are played, and the rows of each."""
    if isinstance(layer, int):
        yield layer, slice(None)
        return
    starts = [*_starts(layer, layers), len(layer)]
    for k, (start, end) in enumerate(itertools.pairwise(starts)):
        if start < end:
            yield k, slice(start, end)
