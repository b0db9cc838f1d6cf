r"""The Hard Concrete distribution (Louizos et al. 2018; paper, section 2 and appendix B).

A binary concrete variable of logit a and temperature β, stretched to (l, r) and clipped to [0, 1]:

    s = σ((log u − log(1−u) + a) / β),  u ~ U(0, 1),      z = clip(s·(r−l) + l, 0, 1).

With l < 0 the gate z is exactly zero with positive probability, so a dropped input is truly gone,
while gradients flow through s wherever z is not clipped. In the paper's setting, r = 1, exact ones
have no mass. All functions are elementwise in the logits and compute in float32, whatever the
logits' dtype, because log-odds near a saturated gate do not survive bfloat16.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, sigmoid
from jax.scipy.special import logit
from jaxtyping import Array, Float, Key


class Shape(NamedTuple):
    """Temperature β and stretch interval (l, r); the defaults are the paper's."""

    temperature: float = 0.2
    left: float = -0.2
    right: float = 1.0


PAPER = Shape()


def sample(
    key: Key[Array, ""], logits: Float[Array, "*b"], shape: Shape = PAPER
) -> Float[Array, "*b"]:
    """Draw gates z in [0, 1], reparameterised: ∂z/∂a is exact wherever 0 < z < 1, else zero."""
    noise = jax.random.logistic(key, logits.shape, jnp.float32)
    return _clip_stretched(noise, logits, shape)


def deterministic(logits: Float[Array, "*b"], shape: Shape = PAPER) -> Float[Array, "*b"]:
    """The noise-free gate, u = ½: z = clip(σ(a/β)·(r−l) + l, 0, 1), the distribution's median."""
    return _clip_stretched(jnp.zeros(logits.shape, jnp.float32), logits, shape)


def log_keep_probability(logits: Float[Array, "*b"], shape: Shape = PAPER) -> Float[Array, "*b"]:
    """log P(z ≠ 0) = log σ(a − β·log(−l/r)), in nats."""
    log_odds_of_zero = shape.temperature * np.log(-shape.left / shape.right)
    return log_sigmoid(logits.astype(jnp.float32) - log_odds_of_zero).astype(logits.dtype)


def keep_probability(logits: Float[Array, "*b"], shape: Shape = PAPER) -> Float[Array, "*b"]:
    """P(z ≠ 0) = σ(a − β·log(−l/r)): the attribution of a trained probe."""
    return jnp.exp(log_keep_probability(logits, shape))


def cdf(
    gate: Float[Array, "*b"], logits: Float[Array, "*b"], shape: Shape = PAPER
) -> Float[Array, "*b"]:
    """P(z ≤ x): σ(β·logit((x−l)/(r−l)) − a) for 0 ≤ x < 1, zero below and one above."""
    inside = sigmoid(_log_odds(gate, logits, shape))
    return jnp.where(gate < 0, 0.0, jnp.where(gate >= 1, 1.0, inside)).astype(logits.dtype)


def log_density(
    gate: Float[Array, "*b"], logits: Float[Array, "*b"], shape: Shape = PAPER
) -> Float[Array, "*b"]:
    """Log density of the continuous part on the open interval (0, 1), −inf outside it.

    log p(x) = log σ(y) + log σ(−y) + log β − log(s·(1−s)) − log(r−l),
    s = (x−l)/(r−l),  y = β·logit(s) − a.  It integrates to P(0 < z < 1), not to one.
    """
    inside = (gate > 0) & (gate < 1)
    safe = jnp.where(inside, gate, 0.5)
    s = _unstretch(safe, shape)
    y = _log_odds(safe, logits, shape)
    width = shape.right - shape.left
    log_jacobian = np.log(shape.temperature / width) - jnp.log(s) - jnp.log1p(-s)
    log_p = log_sigmoid(y) + log_sigmoid(-y) + log_jacobian
    return jnp.where(inside, log_p, -jnp.inf).astype(logits.dtype)


def mean(logits: Float[Array, "*b"], shape: Shape = PAPER) -> Float[Array, "*b"]:
    """E[z] = ∫₀¹ P(z > t) dt, by 64-point Gauss–Legendre quadrature (error below 1e-5).

    Substituting t = σ(x)·(r−l) + l makes the integrand smooth:
    E[z] = (r−l) ∫ σ(a − β·x)·σ(x)·σ(−x) dx  from logit(−l/(r−l)) to logit((1−l)/(r−l)).
    """
    width = shape.right - shape.left
    start = np.log(-shape.left / shape.right)
    # With r = 1 the upper end is infinite; σ(−x) has fallen to float32's resolution by x = 20.
    stop = 20.0 if shape.right == 1 else np.log((1 - shape.left) / (shape.right - 1))
    nodes, weights = np.polynomial.legendre.leggauss(64)
    x = start + (stop - start) * (nodes + 1) / 2
    density = weights * (stop - start) / 2 * width / (2 + np.exp(x) + np.exp(-x))
    survival = sigmoid(logits.astype(jnp.float32)[..., None] - shape.temperature * jnp.asarray(x))
    return (survival @ jnp.asarray(density, jnp.float32)).astype(logits.dtype)


def _clip_stretched(noise: Array, logits: Array, shape: Shape) -> Array:
    s = sigmoid((noise + logits.astype(jnp.float32)) / shape.temperature)
    z = jnp.clip(s * (shape.right - shape.left) + shape.left, 0.0, 1.0)
    return z.astype(logits.dtype)


def _unstretch(gate: Array, shape: Shape) -> Array:
    return (gate.astype(jnp.float32) - shape.left) / (shape.right - shape.left)


def _log_odds(gate: Array, logits: Array, shape: Shape) -> Array:
    """Log-odds of z ≤ x; the argument is kept inside (0, 1) so that unused branches stay finite."""
    s = jnp.clip(_unstretch(gate, shape), 1e-7, 1 - 1e-7)
    return shape.temperature * logit(s) - logits.astype(jnp.float32)
