"""What both probes do to the states of a network in PyTorch, as `diffmask_jax.game.probes`."""

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
"""The depth that is played: one for the batch, or one an example (B,), the lowest first."""


States = Callable[[int, slice], Tensor]
"""(state, rows) -> these rows of it: of states that a pass has given, or that are looked up."""


class Masked(NamedTuple):
    """States under one draw of their gates, and what the game says about them.

    states: what takes the place of which state; of several, each for the rows that come next
    log_keep: log P(z ≠ 0) (B, T); squares: Σ a² over the votes of a gate (B, T)
    """

    states: dict[int, Tensor]
    log_keep: Tensor
    squares: Tensor


class Told(NamedTuple):
    """What one vote says: its draw, log P(v ≠ 0) and a², (N, T) each."""

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
    """The input under the product of the votes up to a depth; no row's vote above it is taken."""
    input_ = states(0, slice(None))
    words = input_.float()
    gate: list[Tensor] = []
    for k, first in enumerate(_starts(layer, len(players.gates))):
        if first < len(words):  # the rows of depth k and more are the last ones
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
    """States under their own votes, each for the rows that play it."""
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
    """The first row of each depth or of a higher one; the number of rows where there is none."""
    if isinstance(layer, int):
        return [0] * (layer + 1)
    depths = torch.arange(layers + 1, device=layer.device)
    return torch.searchsorted(layer, depths).tolist()[:layers]


def _played(layer: Layers, layers: int) -> Iterator[tuple[int, slice]]:
    """The depths that are played, and by which rows."""
    if isinstance(layer, int):
        yield layer, slice(None)
        return
    starts = [*_starts(layer, layers), len(layer)]
    for k, (start, end) in enumerate(itertools.pairwise(starts)):
        if start < end:
            yield k, slice(start, end)
