"""The two players in PyTorch: gate networks, baselines, multipliers, and their optimisers.

Only `experiments.throughput` needs PyTorch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Array
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid
from torch.nn.utils.parametrizations import weight_norm

from diffmask_jax.game.multipliers import LARGEST, SMALLEST
from diffmask_jax.game.players import FALL, Rates

MEMORY = 0.9
TEMPERATURE, LEFT, RIGHT = 0.2, -0.2, 1.0

Noise = Callable[[int, torch.Size], Tensor]
"""(layer, shape) -> the logistic noise of one draw of its gates."""

Product = Callable[..., Tensor]
"""(x, weight, bias) -> x·Wᵀ + b, as `torch.nn.functional.linear`, or faster."""

Weights = dict[str, np.ndarray]


def logistic(layer: int, shape: torch.Size, device: str = "cpu") -> Tensor:
    """log u − log(1−u) with u ~ U(0, 1), bounded away from 0 and 1."""
    return torch.rand(shape, device=device).logit(eps=1e-7)


class Gate(nn.Module):
    """The gate network: features (B, T, F), as one tensor or in parts, -> (B, T) logits."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(width, hidden))
        self.second = weight_norm(nn.Linear(hidden, 1))
        self.shift = nn.Parameter(torch.tensor(5.0))

    def forward(self, *parts: Tensor, product: Product = linear) -> Tensor:
        """10·tanh(w·tanh(W·x + b) + b') + c; the parts of x are never concatenated."""
        first, *others = self.first.weight.split([part.shape[-1] for part in parts], dim=1)
        x = product(parts[0], first, self.first.bias)
        for part, weight in zip(parts[1:], others, strict=True):
            x = x + product(part, weight, None)
        return 10 * torch.tanh(self.second(torch.tanh(x))[..., 0]) + self.shift


class Players(nn.Module):
    """A gate network and a multiplier λ for each state, and the baselines b."""

    def __init__(self, features: Sequence[int], baselines: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList([Gate(width, hidden) for width in features])
        self.baselines = nn.ParameterList([torch.zeros(width) for width in baselines])
        self.multipliers = nn.Parameter(torch.ones(len(features)))


def player_weights(probe: Any, multipliers: Array) -> Weights:
    """A probe's JAX parameters (or their gradients) and λ's, laid out as in `Players`."""
    weights = {"multipliers": multipliers}
    for k, baseline in enumerate(probe["baselines"]):
        weights[f"baselines.{k}"] = baseline
    for k, gate in enumerate(probe["gates"]):
        weights[f"gates.{k}.shift"] = gate["shift"]
        for name in ("first", "second"):
            scale = gate[f"{name}_norm"][f"{name}/kernel/scale"]
            weights[f"gates.{k}.{name}.bias"] = gate[name]["bias"]
            weights[f"gates.{k}.{name}.parametrizations.weight.original0"] = scale[:, None]
            weights[f"gates.{k}.{name}.parametrizations.weight.original1"] = gate[name]["kernel"].T
    return {name: np.asarray(value) for name, value in weights.items()}


def load(module: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """The module with these weights, which must include all of its own."""
    module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return module


def players(weights: Mapping[str, np.ndarray]) -> Players:
    """Both players, of any size, with the weights from `player_weights`."""
    gates = len(weights["multipliers"])
    first = [weights[f"gates.{k}.first.parametrizations.weight.original1"] for k in range(gates)]
    widths = [len(value) for name, value in weights.items() if name.startswith("baselines.")]
    playing = Players([kernel.shape[1] for kernel in first], widths, len(first[0]))
    load(playing, weights)
    return playing


def gradients(playing: Players) -> Weights:
    """All gradients by the names of `player_weights`; zero for weights that were not used."""
    return {
        name: np.zeros(weight.shape, np.float32)
        if weight.grad is None
        else weight.grad.cpu().numpy()
        for name, weight in playing.named_parameters()
    }


def gate(logits: Tensor, noise: Tensor) -> Tensor:
    """A Hard Concrete draw, clip(σ((noise + a)/β)·(r−l) + l, 0, 1)."""
    s = torch.sigmoid((noise + logits) / TEMPERATURE)
    return (s * (RIGHT - LEFT) + LEFT).clamp(0, 1)


def log_keep(logits: Tensor) -> Tensor:
    """log P(z ≠ 0), nats."""
    return logsigmoid(logits - TEMPERATURE * math.log(-LEFT / RIGHT))


def mask(state: Tensor, z: Tensor, baseline: Tensor) -> Tensor:
    """z·h + (1−z)·b in the state's own type."""
    z = z[..., None].to(state.dtype)
    return z * state + (1 - z) * baseline.to(state.dtype)


Follow = Callable[[list[Any], list[Tensor], int], None]
"""(fast weights, slow ones, steps so far): move the slow ones after each step of the fast ones."""


def lookahead(fast: list[Any], slow: list[Tensor], steps: int) -> None:
    """Every 6th step slow weights move half way to the fast ones, which continue from there."""
    if steps % 6 == 0:
        for ahead, behind in zip(fast, slow, strict=True):
            ahead.copy_(behind.lerp_(ahead, 0.5))


def averaged(fast: list[Any], slow: list[Tensor], steps: int, sharpness: float = 8.0) -> None:
    """A running average of the fast weights, as in `diffmask_jax.game.optimizers`.

    The variance has no floor here; it would round below zero only if all gates were closed.
    """
    weight = (sharpness + 1) / (steps + sharpness)
    torch._foreach_lerp_(slow, [weights.detach() for weights in fast], weight)


class Followed:
    """The weights moved by `fast`, and slow ones that follow them."""

    def __init__(self, fast: torch.optim.Optimizer, follow: Follow) -> None:
        self.fast, self.follow = fast, follow
        self.weights: list[Any] = [p for group in fast.param_groups for p in group["params"]]
        self.slow = [p.detach().clone() for p in self.weights]
        self.steps = 0

    def step(self) -> None:
        """One step of each; the gradients are cleared."""
        self.fast.step()
        self.fast.zero_grad()
        self.steps += 1
        with torch.no_grad():
            self.follow(self.weights, self.slow, self.steps)


class Controller:
    """The PI controller in log λ of `diffmask_jax.game.multipliers`, if all layers are played."""

    def __init__(self, multipliers: nn.Parameter, margin: float, integral: float) -> None:
        self.weights: list[Any] = [multipliers]
        self.margin, self.integral = margin, integral
        self.log = multipliers.detach().log()
        self.excess, self.weight = torch.zeros_like(self.log), 0.0

    @torch.no_grad()
    def step(self) -> None:
        """λ follows D − m, which is its gradient."""
        (multipliers,) = self.weights
        assert multipliers.grad is not None
        excess = multipliers.grad * (len(multipliers) / self.margin)
        self.excess.lerp_(excess, 1 - MEMORY)
        self.weight = MEMORY * self.weight + 1 - MEMORY
        error = (self.excess / self.weight).clamp_(-1, 1)
        self.log.add_(error, alpha=self.integral)
        self.log.clamp_(math.log(SMALLEST), math.log(LARGEST))
        multipliers.copy_((self.log + error).exp_())
        multipliers.grad = None


class Mover(Protocol):
    """The optimiser of one player."""

    weights: list[Any]

    def step(self) -> None:
        """One step with the weights' gradients, which are cleared."""
        ...


class Optimisers(NamedTuple):
    """The optimiser of the probe (primal), and that of the multipliers (dual), which ascends."""

    primal: Mover
    dual: Mover
    rate: torch.optim.lr_scheduler.LRScheduler


Moving = Callable[[Players], Optimisers]
"""Players -> their optimisers, before the first step."""


def optimisers(playing: Players, rates: Rates) -> Optimisers:
    """RMSprop in Lookahead for each player, before the first step."""
    primal = _rmsprop(playing, rates)
    dual = torch.optim.RMSprop([playing.multipliers], lr=rates.multiplier, maximize=True)
    warmup = torch.optim.lr_scheduler.LambdaLR(
        primal, lambda n: min(1.0, n / rates.warmup) if rates.warmup else 1.0
    )
    return Optimisers(Followed(primal, lookahead), Followed(dual, lookahead), warmup)


def settling(playing: Players, rates: Rates, margin: float) -> Optimisers:
    """Centered RMSprop at falling rates, averaged, against the controller: today's default."""
    primal = _rmsprop(playing, rates, foreach=True)
    falling = torch.optim.lr_scheduler.LambdaLR(
        primal, lambda n: min(1.0, n / max(rates.warmup, 1)) / math.sqrt(1 + n / FALL)
    )
    dual = Controller(playing.multipliers, margin, rates.multiplier)
    return Optimisers(Followed(primal, averaged), dual, falling)


def _rmsprop(playing: Players, rates: Rates, foreach: bool | None = None) -> torch.optim.RMSprop:
    """Centered RMSprop of gate networks and baselines, each at its own rate."""
    groups: list[dict[str, Any]] = [
        {"params": playing.gates.parameters(), "lr": rates.probe},
        {"params": playing.baselines.parameters(), "lr": rates.baseline},
    ]
    return torch.optim.RMSprop(groups, centered=True, foreach=foreach)


def end_step(playing: Players, moved: Optimisers) -> None:
    """Project the multipliers after the steps of both players."""
    moved.rate.step()
    playing.multipliers.data.clamp_(0, LARGEST)


class Outcome(NamedTuple):
    """Batch means of the game's quantities, for people."""

    sparsity: Tensor
    divergence: Tensor


def backward(
    sparsity: Tensor,
    divergence: Tensor,
    multiplier: Tensor,
    margin: float,
    shares: Tensor | None = None,
) -> Outcome:
    """Gradients of the batch mean of L₀ + λ·(D − m) for all weights that require one.

    shares: the weights of the examples in the mean, which sum to 1; None: equal weights
    """
    mean = torch.mean if shares is None else shares.dot
    mean(sparsity + multiplier * (divergence - margin)).backward()
    return Outcome(mean(sparsity.detach()), divergence.detach().mean())
