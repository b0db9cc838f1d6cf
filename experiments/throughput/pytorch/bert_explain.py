"""Integrated gradients of a BERT classifier in PyTorch, for one state at a time."""

import torch
from torch import Tensor

from experiments.throughput.pytorch import bert
from experiments.throughput.pytorch.bert import Network
from experiments.throughput.pytorch.bert_steps import Way

ROWS = 64
"""Rows of a batch, which is filled with as many points of the path as possible."""


def integrated_gradients(
    network: Network,
    tokens: Tensor,
    segments: Tensor,
    valid: Tensor,
    layer: int,
    steps: int,
    way: Way,
) -> Tensor:
    """|Σ_d h_d · ∫₀¹ ∂score(α·h)/∂h_d dα| of the predicted class's logit from zero (B, T).

    By the midpoint rule, as in `diffmask_jax.attribution.integrated_gradients`.
    """
    logits, states = bert.clean_pass(network, tokens, segments, valid, way.block)
    predicted = logits.argmax(-1)
    state = states[layer] * valid[..., None]
    total = torch.zeros_like(state, dtype=torch.float32)
    points = (torch.arange(steps, device=state.device) + 0.5) / steps
    for alphas in points.split(max(1, ROWS // len(tokens))):
        repeats = len(alphas)
        path = (alphas[:, None, None, None].to(state.dtype) * state).flatten(0, 1)
        path.requires_grad_(True)
        resumed = bert.resume(
            network,
            {layer: path},
            segments.repeat(repeats, 1),
            valid.repeat(repeats, 1),
            way.block,
            way.cls,
        )
        score = resumed.gather(1, predicted.repeat(repeats)[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, path)
        total += gradient.float().unflatten(0, (repeats, -1)).sum(0)
    return (state.float() * total / steps).sum(-1).abs()
