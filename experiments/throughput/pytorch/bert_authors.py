"""DiffMask's step on BERT in PyTorch in the authors' style.

It uses Hugging Face's modules as they are, pads all texts to one length, installs and removes hooks
at every pass, and runs every batch twice, once for each player: each time a clean pass, in which
hooks read the states, and a masked pass of the whole model, in which a hook replaces one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from diffmask_jax.game.players import Rates
from experiments.throughput.pytorch import players as torch_players
from experiments.throughput.pytorch.bert import Module, close_padding
from experiments.throughput.pytorch.bert_gates import Gating
from experiments.throughput.pytorch.bert_steps import Stakes, game
from experiments.throughput.pytorch.players import (
    Mover,
    Noise,
    Optimisers,
    Outcome,
    Players,
    Weights,
)


class Play(NamedTuple):
    """A game in progress: the frozen model, both players and their optimisers."""

    model: Module
    players: Players
    gating: Gating
    stakes: Stakes
    noise: Noise
    moved: Optimisers


def start(
    model: Module,
    weights: Weights,
    gating: Gating,
    stakes: Stakes,
    rates: Rates,
    noise: Noise,
) -> Play:
    """The game before its first step, from `player_weights`."""
    players = torch_players.players(weights).to(model.device)
    return Play(model, players, gating, stakes, noise, torch_players.optimisers(players, rates))


def batches(tokens: Tensor, valid: Tensor, rows: list[list[int]]) -> Iterator[Sequence[Tensor]]:
    """Batches (tokens, valid) of these rows of a data set that is padded to one length."""
    yield from DataLoader(TensorDataset(tokens, valid), batch_sampler=rows)


def authors_pass(play: Play, player: Mover, batch: Sequence[Tensor], layer: int) -> Outcome:
    """One player's gradients."""
    tokens, valid = batch
    play.players.requires_grad_(False)
    for weight in player.weights:
        weight.requires_grad_(True)
    original, states = _read_states(play.model, tokens, valid)
    masked = play.gating(play.players, lambda k, rows: states[k][rows], layer, play.noise)
    ((target, state),) = masked.states.items()
    logits = _replace_state(play.model, tokens, valid, target, state)
    return game(play.players, valid, masked, original, logits, layer, play.stakes)


def authors_step(play: Play, batch: Sequence[Tensor], layer: int) -> Outcome:
    """A step of both players, in which every batch is run twice, once for each."""
    for player in (play.moved.primal, play.moved.dual):
        outcome = authors_pass(play, player, batch, layer)
        player.step()
    torch_players.end_step(play.players, play.moved)
    return outcome


def _modules(model: Module) -> list[Any]:
    """The module that gives each state."""
    embeddings = model.bert.embeddings
    return [embeddings.word_embeddings, embeddings, *model.bert.encoder.layer]


def _read_states(model: Module, tokens: Tensor, valid: Tensor) -> tuple[Tensor, list[Tensor]]:
    states: list[Tensor] = []

    def read(module: Any, arguments: Any, out: Any) -> None:
        states.append(_state_of(out))

    hooks = [module.register_forward_hook(read) for module in _modules(model)]
    logits = _run(model, tokens, valid)
    for hook in hooks:
        hook.remove()
    return logits, states


def _replace_state(
    model: Module, tokens: Tensor, valid: Tensor, layer: int, state: Tensor
) -> Tensor:
    def replace(module: Any, arguments: Any, out: Any) -> Any:
        return (state, *out[1:]) if isinstance(out, tuple) else state

    hook = _modules(model)[layer].register_forward_hook(replace)
    logits = _run(model, tokens, valid)
    hook.remove()
    return logits


def _run(model: Any, tokens: Tensor, valid: Tensor) -> Tensor:
    out = model(input_ids=tokens, attention_mask=valid.long())
    if "logits" in out:
        return out.logits
    return close_padding(torch.stack([out.start_logits, out.end_logits], dim=-1), valid)


def _state_of(out: Any) -> Tensor:
    # Before version 5, transformers' blocks return a tuple.
    return out[0] if isinstance(out, tuple) else out
