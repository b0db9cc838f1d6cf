"""DiffMask's step on the toy task in eager PyTorch: in the authors' style, and lean.

Both play the game of `diffmask_jax.game.steps`. In the authors' style every batch is run twice,
once for each player, each time through a clean and a masked pass of the whole model, with hooks
that read and replace its states. The lean one has precomputed clean states, and one masked pass for
both players.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence
from torch.nn.functional import linear, softplus
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

from diffmask_jax.game.players import Rates
from diffmask_jax.models.toy import WIDTH, ToyInputs
from experiments.throughput.pytorch import players as torch_players
from experiments.throughput.pytorch.players import (
    Mover,
    Noise,
    Optimisers,
    Outcome,
    Players,
    end_step,
    load,
    logistic,
    optimisers,
)
from experiments.throughput.pytorch.toy import CountingModel

MARGIN, BATCH = 0.05, 128


class Play(NamedTuple):
    """A game in progress on one state: the frozen model, both players and their optimisers."""

    model: CountingModel
    players: Players
    layer: int
    noise: Noise
    moved: Optimisers


def start(
    model: Mapping[str, np.ndarray],
    players: Mapping[str, np.ndarray],
    layer: int,
    rates: Rates,
    noise: Noise = logistic,
) -> Play:
    """The game before its first step, from `model_weights` and `player_weights`."""
    frozen, playing = CountingModel().requires_grad_(False), torch_players.players(players)
    load(frozen, model)
    return Play(frozen, playing, layer, noise, optimisers(playing, rates))


def sample(play: Play, state: Tensor) -> tuple[Tensor, Tensor]:
    """The masked state z·h + (1−z)·b under one draw of the gates, and log P(z ≠ 0) (B, T)."""
    logits = play.players.gates[play.layer](state)
    z = torch_players.gate(logits, play.noise(play.layer, logits.shape))
    masked = torch_players.mask(state, z, play.players.baselines[play.layer])
    return masked, torch_players.log_keep(logits)


def backward(play: Play, log_keep: Tensor, valid: Tensor, divergence: Tensor) -> Outcome:
    """Gradients of the game whose L₀ is the mean of log P(z ≠ 0) over valid positions."""
    sparsity = (log_keep * valid).sum(-1) / valid.sum(-1)
    multiplier = play.players.multipliers[play.layer]
    return torch_players.backward(sparsity, divergence, multiplier, MARGIN)


def authors_batches(inputs: ToyInputs) -> Iterator[Sequence[Tensor]]:
    """Endless batches (query, digits, valid), shuffled every epoch."""
    data = TensorDataset(*(torch.tensor(np.asarray(array)).long() for array in inputs))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        yield from loader


def authors_pass(play: Play, player: Mover, batch: Sequence[Tensor]) -> Outcome:
    """One player's gradients; hooks read the states of a clean pass and replace one in a second."""
    query, digits, valid = batch
    model, lengths = play.model, valid.sum(-1)
    play.players.requires_grad_(False)
    for weight in player.weights:
        weight.requires_grad_(True)

    modules, states = (model.digit, model.feed_forward), []
    hooks = [m.register_forward_hook(lambda _, __, out: states.append(out)) for m in modules]
    with torch.no_grad():
        original = model(query, digits, lengths)
    for hook in hooks:
        hook.remove()

    masked, log_keep = sample(play, states[play.layer])
    hook = modules[play.layer].register_forward_hook(lambda *_: masked)
    logits = model(query, digits, lengths)
    hook.remove()
    divergence = kl_divergence(Bernoulli(logits=original), Bernoulli(logits=logits))
    return backward(play, log_keep, valid, divergence)


def authors_step(play: Play, batch: Sequence[Tensor]) -> None:
    """A step of both players, in which every batch is run twice, once for each."""
    for player in (play.moved.primal, play.moved.dual):
        authors_pass(play, player, batch)
        player.step()
    end_step(play.players, play.moved)


class Clean(NamedTuple):
    """The inputs of a lean step, computed by the frozen model once for all epochs.

    query: (N, 64), the queries' contribution to the first layer of the feed-forward network
    """

    logits: Tensor
    state: Tensor
    query: Tensor
    lengths: Tensor
    valid: Tensor


@torch.no_grad()
def lean_data(play: Play, inputs: ToyInputs) -> Clean:
    """The clean pass of all examples."""
    query, digits, valid = (torch.tensor(np.asarray(array)).long() for array in inputs)
    model, lengths = play.model, valid.sum(-1)
    queries = model.query(query).flatten(1)
    state = model.digit(digits)
    if play.layer == 1:
        spread = queries[:, None].expand(-1, digits.shape[1], -1)
        state = model.feed_forward(torch.cat([spread, state], dim=-1))
    first: Any = model.feed_forward[0]
    added = linear(queries, first.weight[:, : 2 * WIDTH], first.bias)
    return Clean(model(query, digits, lengths), state, added, lengths, valid)


def lean_batches(data: Clean) -> Iterator[Clean]:
    """Endless batches, shuffled every epoch, the longest example first, as the GRU expects."""
    while True:
        for rows in torch.randperm(len(data.lengths)).split(BATCH)[:-1]:
            rows = rows[data.lengths[rows].argsort(descending=True)]
            yield Clean(*(array[rows] for array in data))


def lean_pass(play: Play, batch: Clean) -> Outcome:
    """Both players' gradients from one masked pass."""
    state, log_keep = sample(play, batch.state)
    if play.layer == 0:
        layers: Any = play.model.feed_forward
        first, tanh, second = layers
        of_digits = linear(state, first.weight[:, 2 * WIDTH :])
        state = second(tanh(of_digits + batch.query[:, None]))
    logits = play.model.count(pack_padded_sequence(state, batch.lengths, batch_first=True))
    original = batch.logits
    divergence = torch.sigmoid(original) * (original - logits) + softplus(logits)
    return backward(play, log_keep, batch.valid, divergence - softplus(original))


def lean_step(play: Play, batch: Clean) -> None:
    """A step of both players from one pass."""
    lean_pass(play, batch)
    play.moved.primal.step()
    play.moved.dual.step()
    end_step(play.players, play.moved)
