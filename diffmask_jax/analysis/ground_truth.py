"""Attributions against a known truth, as distributions over a text's positions (paper, Table 1)."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import rel_entr
from jaxtyping import Array, Bool, Float


def normalise(
    attribution: Float[Array, "*b T"], valid: Bool[Array | np.ndarray, "*b T"]
) -> Float[Array, "*b T"]:
    """Attributions ≥ 0, scaled to sum to one over valid positions; uniform if all are zero."""
    kept = jnp.where(valid, attribution, 0.0)
    total = jnp.sum(kept, axis=-1, keepdims=True)
    count = jnp.maximum(jnp.sum(valid, axis=-1, keepdims=True), 1)
    return jnp.where(total > 0, kept / jnp.where(total > 0, total, 1.0), valid / count)


def kl(p: Float[Array, "*b T"], q: Float[Array, "*b T"]) -> Float[Array, "*b"]:
    """D_KL[p ‖ q] = Σ p·log(p/q) in nats; infinite where q is zero and p is not."""
    return jnp.sum(rel_entr(p, q), axis=-1)


def js(p: Float[Array, "*b T"], q: Float[Array, "*b T"]) -> Float[Array, "*b"]:
    """D_JS[p ‖ q] = ½·D_KL[p ‖ m] + ½·D_KL[q ‖ m] with m = (p + q)/2, in nats, at most log 2."""
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2
