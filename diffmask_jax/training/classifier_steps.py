"""Training a classifier: steps of AdamW on its head's loss, with some of its parts frozen."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import Params
from diffmask_jax.models.transformer import TrainingLogits

Loss = Callable[[Any, Array], Float[Array, " B"]]
"""(logits, gold) -> the loss of each example, in nats: that of a classifier's head."""


class TrainState(NamedTuple):
    """Everything that a step changes; with the key and the batches it determines the rest.

    Its parameters are those that are trained; frozen ones are not part of it.
    """

    step: Int[Array, ""]
    params: Params
    optimizer: Any


def init(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, with a copy of `params`, since states are donated."""
    params = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def steps(
    state: TrainState,
    inputs: TextInputs,
    gold: Array | np.ndarray,
    *,
    frozen: Params,
    key: Key[Array, ""],
    logits: TrainingLogits,
    loss: Loss,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Float[Array, " S"]]:
    """S steps on the mean loss, in one program; also each step's loss in nats.

    inputs: arrays (S, B, T), one batch per step
    gold: (S, B, …), as `loss` expects it
    frozen: the top-level parts of the parameters that are not trained
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Float[Array, ""]]:
        inputs, gold = batch

        def mean_loss(params: Params) -> Float[Array, ""]:
            outputs = logits(params | frozen, inputs, jax.random.fold_in(key, state.step))
            return loss(outputs, gold).mean()

        value, gradient = jax.value_and_grad(mean_loss)(state.params)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, moments), value

    return jax.lax.scan(step, state, (inputs, gold))


@functools.cache
def adamw(
    encoder_rate: float,
    head_rate: float,
    *,
    total: int,
    warmup: int,
    weight_decay: float,
    clip: float,
) -> optax.GradientTransformation:
    """AdamW with one rate for the head and one for all other parts, the encoder.

    Both rates rise linearly from 0 over the first `warmup` steps, then fall to 0 until step
    `total`. The gradient is first clipped to a global norm of `clip`.
    """

    def part(peak: float) -> optax.GradientTransformation:
        rise = optax.linear_schedule(0.0, peak, warmup)
        fall = optax.linear_schedule(peak, 0.0, total - warmup)
        rate = optax.join_schedules([rise, fall], [warmup])
        return optax.adamw(rate, weight_decay=weight_decay, mask=_decays)

    def parts(params: Params) -> dict[str, str]:
        return {name: "head" if name == "head" else "encoder" for name in params}

    split = optax.partition({"encoder": part(encoder_rate), "head": part(head_rate)}, parts)
    return optax.chain(optax.clip_by_global_norm(clip), split)


def _decays(params: Params) -> Any:
    """Which parameters weight decay applies to: matrices, not biases or the norms' scales."""
    return jax.tree.map(lambda array: array.ndim > 1, params)
