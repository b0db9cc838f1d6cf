"""BERT as it is trained: its pass with values dropped at random, and steps of AdamW."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from diffmask_jax.models.bert import (
    BertConfig,
    BertInputs,
    Block,
    Embeddings,
    Head,
    check_length,
    padding_bias,
    word_embedding,
)
from diffmask_jax.models.model import Params

TrainingLogits = Callable[[Params, BertInputs, Key[Array, ""]], Float[Array, "B C"]]


def training_logits(config: BertConfig) -> TrainingLogits:
    """(params, inputs, key) -> logits, with the dropout of `config` drawn from the key.

    Values are dropped where Hugging Face's BertForSequenceClassification drops them: behind the
    embeddings' norm, from the attention probabilities, from what attention and the feed-forward
    layer add to a state, and from the pooled output. At rates of 0 these are the classifier's own
    logits.

    Raises: UserError, when called, if a text is longer than the model has positions.
    """
    modules = {
        "embeddings": Embeddings(config, jnp.float32, config.dropout),
        "block": Block(config, jnp.float32, config.dropout),
        "head": Head(config, jnp.float32, config.dropout),
    }

    def logits(params: Params, inputs: BertInputs, key: Key[Array, ""]) -> Float[Array, "B C"]:
        check_length(inputs.valid.shape[1], config)
        keys = iter(jax.random.split(key, 2 + config.blocks))

        def apply(name: str, own: Params, *arguments: Any) -> Any:
            return modules[name].apply({"params": own}, *arguments, rngs={"dropout": next(keys)})

        bias = padding_bias(inputs.valid)
        words = word_embedding(config).apply({"params": params["word"]}, inputs.tokens)
        state = apply("embeddings", params["embeddings"], words, inputs.segments)
        for block in params["blocks"]:
            state = apply("block", block, state, bias)
        return apply("head", params["head"], state)

    return logits


class TrainState(NamedTuple):
    """Everything a step changes; with the key and the batches it determines the rest."""

    step: Int[Array, ""]
    params: Params
    optimizer: Any


def init(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, over a copy of the parameters, for states are donated."""
    params = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def steps(
    state: TrainState,
    inputs: BertInputs,
    labels: Int[Array | np.ndarray, "S B"],
    *,
    key: Key[Array, ""],
    logits: TrainingLogits,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Float[Array, " S"]]:
    """S steps down the mean cross-entropy, in one program; also each step's loss in nats.

    inputs: arrays (S, B, T), a batch a step.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Float[Array, ""]]:
        inputs, labels = batch

        def loss_of(params: Params) -> Float[Array, ""]:
            found = logits(params, inputs, jax.random.fold_in(key, state.step))
            return optax.softmax_cross_entropy_with_integer_labels(found, labels).mean()

        loss, gradient = jax.value_and_grad(loss_of)(state.params)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        return TrainState(state.step + 1, optax.apply_updates(state.params, updates), moments), loss

    return jax.lax.scan(step, state, (inputs, labels))


def adamw(
    encoder_rate: float,
    head_rate: float,
    *,
    total: int,
    warmup: int,
    weight_decay: float,
    clip: float,
) -> optax.GradientTransformation:
    """AdamW at one rate for the encoder and one for the head, pooler and classifier.

    Over `total` steps both rates rise linearly from 0 for the first `warmup`, then fall to 0. The
    gradient of all parameters together is clipped to the norm `clip` before.
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
    """Weight decay is for matrices, not for the biases and the norms' scales."""
    return jax.tree.map(lambda array: array.ndim > 1, params)
