"""How far a masked prediction is from the original one, for each family of output distributions.

Divergences are D_KL[original ‖ masked] in nats, one number per example (paper, eq. 2). A `Family`
also holds whatever else is computed from logits, which may be any pytree of arrays (B, …).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax, sigmoid, softmax, softplus
from jaxtyping import Array, Bool, Float, Int

Logits = Any
"""A network's outputs for a batch: a pytree of arrays, each with the batch as its first axis."""

Prediction = Any
"""The decisions made from logits: a pytree of arrays, each with the batch as its first axis."""

CLOSED = -1e9
"""The logit given to padding: so low that its probability is exactly 0."""


class Family(NamedTuple):
    """A family of output distributions, parameterised by a network's logits.

    divergence: (original logits, masked logits) -> (B,) nats
    prediction: logits -> the decision, (B, …)
    agreement: (prediction, prediction) -> (B,) in [0, 1]: 1 where two decisions are the same; for
        spans, the share of the two positions that are
    score: (logits, prediction) -> (B,), the quantity that attributions explain: how strongly the
        logits speak for that decision
    surprisal: (logits, prediction) -> (B,) −log probability of that decision, in nats
    outputs: logits -> (B, C), what people are shown: probabilities, or a regression's values; for
        spans the probabilities of every position, (B, T, 2)
    """

    divergence: Callable[[Logits, Logits], Array]
    prediction: Callable[[Logits], Prediction]
    agreement: Callable[[Prediction, Prediction], Array]
    score: Callable[[Logits, Prediction], Array]
    surprisal: Callable[[Logits, Prediction], Array]
    outputs: Callable[[Logits], Array]


def bernoulli_divergence(
    original: Float[Array, "*b"], masked: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """KL(Bern(σ(a)) ‖ Bern(σ(b))) = σ(a)·(a−b) + softplus(b) − softplus(a), in nats."""
    return sigmoid(original) * (original - masked) + softplus(masked) - softplus(original)


def categorical_divergence(
    original: Float[Array, "B C"], masked: Float[Array, "B C"]
) -> Float[Array, " B"]:
    """KL(softmax(a) ‖ softmax(b)) = Σ_c p_c·(log p_c − log q_c), in nats."""
    return jnp.sum(softmax(original) * (log_softmax(original) - log_softmax(masked)), axis=-1)


def multi_label_divergence(
    original: Float[Array, "B C"], masked: Float[Array, "B C"]
) -> Float[Array, " B"]:
    """Σ_c KL(Bern(σ(a_c)) ‖ Bern(σ(b_c))), in nats: the labels are independent."""
    return jnp.sum(bernoulli_divergence(original, masked), axis=-1)


def close_padding(
    logits: Float[Array, "B T 2"], valid: Bool[Array | np.ndarray, "B T"]
) -> Float[Array, "B T 2"]:
    """Start and end logits that are CLOSED at padding, as `SPAN` expects them.

    CLOSED is finite, so that a row of nothing but padding yields numbers, not nan.
    """
    return jnp.where(valid[..., None], logits, CLOSED)


def span_divergence(
    original: Float[Array, "B T 2"], masked: Float[Array, "B T 2"]
) -> Float[Array, " B"]:
    """KL of the start positions plus KL of the end positions, in nats (paper, section 3.3).

    Σ_s Σ_t p_ts·(log p_ts − log q_ts), where s is start or end, p and q are softmaxes over the
    positions t, and padding is closed (`close_padding`).
    """
    log_p, log_q = log_softmax(original, axis=1), log_softmax(masked, axis=1)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=(1, 2))


def same(a: Int[Array, "B ..."], b: Int[Array, "B ..."]) -> Float[Array, " B"]:
    """1 for an example all of whose decisions are the same, else 0."""
    return jnp.all((a == b).reshape(a.shape[0], -1), axis=-1).astype(jnp.float32)


def _bernoulli_prediction(logits: Float[Array, "*b"]) -> Int[Array, "*b"]:
    return (logits > 0).astype(jnp.int32)


def _bernoulli_score(logits: Float[Array, "*b"], prediction: Int[Array, "*b"]) -> Array:
    return jnp.where(prediction == 1, logits, -logits)


def _bernoulli_surprisal(logits: Float[Array, "*b"], prediction: Int[Array, "*b"]) -> Array:
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


def _span_prediction(logits: Float[Array, "B T 2"]) -> Int[Array, "B 2"]:
    return jnp.argmax(logits, axis=1).astype(jnp.int32)


def _span_agreement(a: Int[Array, "B 2"], b: Int[Array, "B 2"]) -> Float[Array, " B"]:
    return jnp.mean((a == b).astype(jnp.float32), axis=-1)


def _span_score(logits: Float[Array, "B T 2"], prediction: Int[Array, "B 2"]) -> Float[Array, " B"]:
    return jnp.sum(jnp.take_along_axis(logits, prediction[:, None], axis=1), axis=(1, 2))


def _span_surprisal(
    logits: Float[Array, "B T 2"], prediction: Int[Array, "B 2"]
) -> Float[Array, " B"]:
    return -_span_score(log_softmax(logits, axis=1), prediction)


BERNOULLI = Family(
    divergence=bernoulli_divergence,
    prediction=_bernoulli_prediction,
    agreement=same,
    score=_bernoulli_score,
    surprisal=_bernoulli_surprisal,
    outputs=lambda logits: sigmoid(logits)[:, None],
)
"""One binary decision: logits (B,), the log-odds of yes."""

CATEGORICAL = Family(
    divergence=categorical_divergence,
    prediction=_categorical_prediction,
    agreement=same,
    score=_categorical_score,
    surprisal=_categorical_surprisal,
    outputs=softmax,
)
"""One of C classes: logits (B, C)."""

MULTI_LABEL = Family(
    divergence=multi_label_divergence,
    prediction=_bernoulli_prediction,
    agreement=same,
    score=lambda logits, prediction: jnp.sum(_bernoulli_score(logits, prediction), axis=-1),
    surprisal=lambda logits, prediction: jnp.sum(_bernoulli_surprisal(logits, prediction), axis=-1),
    outputs=sigmoid,
)
"""Any number of C labels, each decided on its own: logits (B, C); the prediction is their set."""

SPAN = Family(
    divergence=span_divergence,
    prediction=_span_prediction,
    agreement=_span_agreement,
    score=_span_score,
    surprisal=_span_surprisal,
    outputs=lambda logits: softmax(logits, axis=1),
)
"""The start and the end of a span among T positions: logits (B, T, 2), closed at padding.

The prediction is the two argmaxes, each for itself, (B, 2), so that an end may lie before its
start. Agreement is the share of the two positions that stay the same, the paper's "predictions
kept"; `same` compares whole spans. The score is the start logit plus the end logit.
"""


def gaussian(variance: float | np.floating | Float[Array, ""]) -> Family:
    """C real numbers, the means of Gaussians of one variance s²: the outputs (B, C) themselves.

    D = Σ_c (y_c − ŷ_c)²/2s² nats; two predictions agree if each of their values differs by at most
    s/2. With s² the variance of a network's outputs over a data set, a margin means the same at any
    scale. The score is Σ_c y_c; the surprisal is D, −log density up to a constant.
    """
    return _gaussian(float(variance))


@functools.cache
def _gaussian(variance: float) -> Family:
    def squares(a: Float[Array, "B C"], b: Float[Array, "B C"]) -> Float[Array, " B"]:
        return jnp.sum((a - b) ** 2, axis=-1) / (2 * variance)

    def agreement(a: Float[Array, "B C"], b: Float[Array, "B C"]) -> Float[Array, " B"]:
        return jnp.all((a - b) ** 2 <= variance / 4, axis=-1).astype(jnp.float32)

    return Family(
        divergence=squares,
        prediction=lambda outputs: outputs,
        agreement=agreement,
        score=lambda outputs, prediction: jnp.sum(outputs, axis=-1),
        surprisal=squares,
        outputs=lambda outputs: outputs,
    )
