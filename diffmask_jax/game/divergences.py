"""How far a masked prediction is from the original one, per family of output distributions.

Divergences are D_KL[original ‖ masked] in nats, one number an example (paper, eq. 2). A `Family`
says what else is needed of an output: the predicted class, and the score that attributions explain.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import log_softmax, sigmoid, softmax, softplus
from jaxtyping import Array, Bool, Float, Int


class Family(NamedTuple):
    """A family of output distributions, parameterised by the model's logits.

    divergence: (original logits, masked logits) -> (B,) nats
    prediction: logits -> (B,) predicted class
    score: (logits, prediction) -> (B,) logit of that class
    surprisal: (logits, prediction) -> (B,) −log probability of that class, in nats
    """

    divergence: Callable[[Array, Array], Array]
    prediction: Callable[[Array], Array]
    score: Callable[[Array, Array], Array]
    surprisal: Callable[[Array, Array], Array]


def bernoulli_divergence(
    original: Float[Array, " B"], masked: Float[Array, " B"]
) -> Float[Array, " B"]:
    """KL(Bern(σ(a)) ‖ Bern(σ(b))) = σ(a)·(a−b) + softplus(b) − softplus(a), in nats."""
    return sigmoid(original) * (original - masked) + softplus(masked) - softplus(original)


def categorical_divergence(
    original: Float[Array, "B C"], masked: Float[Array, "B C"]
) -> Float[Array, " B"]:
    """KL(softmax(a) ‖ softmax(b)) = Σ_c p_c·(log p_c − log q_c), in nats."""
    return jnp.sum(softmax(original) * (log_softmax(original) - log_softmax(masked)), axis=-1)


def span_divergence(
    original: Float[Array, "B T 2"], masked: Float[Array, "B T 2"], valid: Bool[Array, "B T"]
) -> Float[Array, " B"]:
    """KL of the start positions plus KL of the end positions, over valid positions, in nats."""
    closed = jnp.where(valid[..., None], 0.0, -1e9)
    log_p = log_softmax(original + closed, axis=1)
    log_q = log_softmax(masked + closed, axis=1)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=(1, 2))


def _bernoulli_prediction(logits: Float[Array, " B"]) -> Int[Array, " B"]:
    return (logits > 0).astype(jnp.int32)


def _bernoulli_score(
    logits: Float[Array, " B"], prediction: Int[Array, " B"]
) -> Float[Array, " B"]:
    return jnp.where(prediction == 1, logits, -logits)


def _bernoulli_surprisal(
    logits: Float[Array, " B"], prediction: Int[Array, " B"]
) -> Float[Array, " B"]:
    return softplus(-_bernoulli_score(logits, prediction))


def _categorical_prediction(logits: Float[Array, "B C"]) -> Int[Array, " B"]:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _categorical_score(
    logits: Float[Array, "B C"], prediction: Int[Array, " B"]
) -> Float[Array, " B"]:
    return jnp.take_along_axis(logits, prediction[:, None], axis=-1)[:, 0]


def _categorical_surprisal(
    logits: Float[Array, "B C"], prediction: Int[Array, " B"]
) -> Float[Array, " B"]:
    return -_categorical_score(log_softmax(logits), prediction)


BERNOULLI = Family(
    bernoulli_divergence, _bernoulli_prediction, _bernoulli_score, _bernoulli_surprisal
)
CATEGORICAL = Family(
    categorical_divergence, _categorical_prediction, _categorical_score, _categorical_surprisal
)
