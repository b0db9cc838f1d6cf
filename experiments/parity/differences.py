"""The differences of two networks: at every state, in the logits, and resumed from every state."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import equally_wide
from experiments.parity.twins import Twins


class Differences(NamedTuple):
    """The largest absolute differences, at valid positions, over all batches.

    states: of each state, by its label
    logits: of a whole pass
    resumed, traced: of the logits of passes resumed from each of PyTorch's states, at a static and
        at a traced layer

    All are infinite if the two tokenizers disagree.
    """

    states: dict[str, float]
    logits: float
    resumed: float
    traced: float

    @property
    def largest(self) -> float:
        """The largest of all differences."""
        return max(*self.states.values(), self.logits, self.resumed, self.traced)


def differences(twins: Twins) -> Differences:
    """The differences of both networks on the same batches, in full float32."""
    with jax.default_matmul_precision("highest"):
        each = [_of_batch(twins, *batch) for batch in twins.batches]
    return Differences(
        {label: max(one.states[label] for one in each) for label in twins.network.layers},
        *(max(getattr(one, name) for one in each) for name in Differences._fields[1:]),
    )


def _of_batch(twins: Twins, inputs: TextInputs, theirs: Mapping[str, torch.Tensor]) -> Differences:
    network, params, valid = twins.network, twins.params, np.asarray(inputs.valid)
    if not _same_tokens(inputs, theirs):
        return Differences(dict.fromkeys(network.layers, math.inf), *[math.inf] * 3)
    inputs = jax.tree.map(jnp.asarray, inputs)
    logits, states = jax.device_get(jax.jit(network.states)(params, inputs))
    their_logits, their_states = pytorch_pass(twins.pytorch, theirs)
    pairs = zip(network.layers, states, their_states, strict=True)

    traced = jax.jit(network.logits_from)
    wide = equally_wide(tuple(map(jnp.asarray, their_states)))
    resumed = [
        (
            network.logits_from(params, inputs, jnp.asarray(state), layer),
            traced(params, inputs, wide[layer], jnp.int32(layer)),
        )
        for layer, state in enumerate(their_states)
    ]
    return Differences(
        {label: _largest(ours[valid], other[valid]) for label, ours, other in pairs},
        _largest(logits, their_logits),
        *(
            max(_largest(found, their_logits) for found in way)
            for way in zip(*resumed, strict=True)
        ),
    )


def pytorch_pass(
    model: Any, inputs: Mapping[str, torch.Tensor]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The logits and every state of transformers' module: the inputs and outputs of its blocks.

    Its own `hidden_states` are not used, since the last may have passed through the head's norm.
    """
    blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    states = [model.get_input_embeddings()(inputs["input_ids"])]
    last: list[torch.Tensor] = []

    def enter(module: Any, arguments: Any, named: Any) -> None:
        states.append(arguments[0] if arguments else named["hidden_states"])

    def leave(module: Any, arguments: Any, output: Any) -> None:
        last[:] = [output[0] if isinstance(output, tuple) else output]

    hooks = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in blocks]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    with torch.no_grad():
        logits = model(**inputs).logits
    for hook in hooks:
        hook.remove()
    return logits.numpy(), [state.detach().numpy() for state in states + last]


def _same_tokens(inputs: TextInputs, theirs: Mapping[str, torch.Tensor]) -> bool:
    """Whether both have the same tokens, except at padding."""
    valid = np.asarray(inputs.valid)
    if not np.array_equal(theirs["attention_mask"].numpy(), valid):
        return False
    segments = theirs.get("token_type_ids")
    same = np.array_equal(theirs["input_ids"].numpy()[valid], inputs.tokens[valid])
    return same and (
        segments is None or np.array_equal(segments.numpy()[valid], inputs.segments[valid])
    )


def _largest(ours: Any, theirs: Any) -> float:
    """The largest absolute difference; nan counts as infinite."""
    return float(np.nan_to_num(np.abs(np.asarray(ours) - theirs).max(), nan=math.inf))
