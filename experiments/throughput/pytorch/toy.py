"""The toy task's model in PyTorch, with the weights of the JAX one."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from diffmask_jax.models.toy import WIDTH

STATE_WIDTHS = (WIDTH, 2)


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
