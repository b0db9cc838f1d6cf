"""The toy task's model, probe and multipliers in PyTorch, with the weights of the JAX ones.

PyTorch is needed only by what `experiments.throughput` loads.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Array
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from diffmask_jax.models.toy import WIDTH

STATE_WIDTHS = (WIDTH, 2)
HIDDEN = 32


class CountingModel(nn.Module):
    """`diffmask_jax.models.toy`, module by module."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.digit = nn.Embedding(10, WIDTH), nn.Embedding(10, WIDTH)
        first, second = nn.Linear(3 * WIDTH, WIDTH), nn.Linear(WIDTH, STATE_WIDTHS[1])
        self.feed_forward = nn.Sequential(first, nn.Tanh(), second)
        self.gru = nn.GRU(STATE_WIDTHS[1], WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, query: Tensor, digits: Tensor, lengths: Tensor) -> Tensor:
        """Log-odds (B,)."""
        queries = self.query(query).flatten(1)[:, None].expand(-1, digits.shape[1], -1)
        state = self.feed_forward(torch.cat([queries, self.digit(digits)], dim=-1))
        return self.count(
            pack_padded_sequence(state, lengths, batch_first=True, enforce_sorted=False)
        )

    def count(self, states: PackedSequence) -> Tensor:
        """Log-odds (B,) from the 2-d states."""
        return self.head(self.gru(states)[1][0])[:, 0]


class Gate(nn.Module):
    """The gate network: (B, T, F) -> (B, T) logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(width, HIDDEN))
        self.second = weight_norm(nn.Linear(HIDDEN, 1))
        self.shift = nn.Parameter(torch.tensor(5.0))

    def forward(self, features: Tensor) -> Tensor:
        """10·tanh(w·tanh(W·x + b) + b') + c."""
        x = self.second(torch.tanh(self.first(features)))[..., 0]
        return 10 * torch.tanh(x) + self.shift


class Players(nn.Module):
    """A gate network, a baseline b and a multiplier λ for each state."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList([Gate(width) for width in STATE_WIDTHS])
        self.baselines = nn.ParameterList([torch.zeros(width) for width in STATE_WIDTHS])
        self.multipliers = nn.Parameter(torch.ones(len(STATE_WIDTHS)))


def model_weights(params: Any) -> dict[str, np.ndarray]:
    """The counting model's JAX parameters under the names and in the layout of `CountingModel`."""
    outer, inner = params["feed_forward"]["Dense_0"], params["feed_forward"]["Dense_1"]
    gru, head = params["counter"]["GRU_0"], params["counter"]["Dense_0"]
    weights = {
        "query.weight": params["query"]["Embed_0"]["embedding"],
        "digit.weight": params["digit"]["Embed_0"]["embedding"],
        "feed_forward.0.weight": inner["kernel"].T,
        "feed_forward.0.bias": inner["bias"],
        "feed_forward.2.weight": outer["kernel"].T,
        "feed_forward.2.bias": outer["bias"],
        "gru.weight_ih_l0": gru["input_kernel"].T,
        "gru.bias_ih_l0": gru["input_bias"],
        "gru.weight_hh_l0": gru["hidden_kernel"].T,
        "gru.bias_hh_l0": gru["hidden_bias"],
        "head.weight": head["kernel"].T,
        "head.bias": head["bias"],
    }
    return {name: np.asarray(value) for name, value in weights.items()}


def player_weights(probe: Any, multipliers: Array) -> dict[str, np.ndarray]:
    """A probe's JAX parameters (or their gradients) and λ's, laid out as in `Players`."""
    weights = {"multipliers": multipliers}
    for k, (gate, baseline) in enumerate(zip(probe["gates"], probe["baselines"], strict=True)):
        weights[f"baselines.{k}"] = baseline
        weights[f"gates.{k}.shift"] = gate["shift"]
        for name in ("first", "second"):
            scale = gate[f"{name}_norm"][f"{name}/kernel/scale"]
            weights[f"gates.{k}.{name}.bias"] = gate[name]["bias"]
            weights[f"gates.{k}.{name}.parametrizations.weight.original0"] = scale[:, None]
            weights[f"gates.{k}.{name}.parametrizations.weight.original1"] = gate[name]["kernel"].T
    return {name: np.asarray(value) for name, value in weights.items()}


def load(module: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """The module with these weights, every one of them given."""
    module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return module


class Lookahead:
    """Every 6th step of `fast`, slow weights go half the way to the fast ones, which follow."""

    def __init__(self, fast: torch.optim.Optimizer) -> None:
        self.fast = fast
        self.weights = [p for group in fast.param_groups for p in group["params"]]
        self.slow = [p.detach().clone() for p in self.weights]
        self.steps = 0

    def step(self) -> None:
        """One fast step, and now and then a slow one; clears the gradients."""
        self.fast.step()
        self.fast.zero_grad()
        self.steps += 1
        if self.steps % 6 == 0:
            with torch.no_grad():
                for fast, slow in zip(self.weights, self.slow, strict=True):
                    fast.copy_(slow.lerp_(fast, 0.5))
