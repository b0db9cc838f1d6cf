"""The two players' optimisers: RMSprop inside Lookahead, as the paper's authors use.

The probe *minimises* the Lagrangian over φ and b; the multiplier λ *maximises* it, by descending
its own part of the scalar (see `lagrangian`), and stays in [0, 200]. `optax.lookahead` carries a
fast and a slow copy of the parameters: gradients are taken at the fast one, and the slow one, the
average over the last steps, is what is evaluated and saved.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

LARGEST_MULTIPLIER = 200.0


class Rates(NamedTuple):
    """Learning rates of the two players and the length of the linear warm-up (probe only)."""

    probe: float = 3e-4
    baseline: float = 1e-3
    multiplier: float = 0.3
    warmup: int = 0


def primal(rates: Rates) -> optax.GradientTransformation:
    """Lookahead(k = 6, α = ½) over centered RMSprop, at one rate for φ and one for b."""

    def rmsprop(peak: float) -> optax.GradientTransformation:
        rate = optax.linear_schedule(0.0, peak, rates.warmup) if rates.warmup else peak
        return optax.chain(scale_by_standard_deviation(), optax.scale_by_learning_rate(rate))

    def labels(params: Any) -> Any:
        return {
            name: jax.tree.map(lambda _, name=name: name, part) for name, part in params.items()
        }

    parts = {"gates": rmsprop(rates.probe), "baselines": rmsprop(rates.baseline)}
    return _lookahead(optax.partition(parts, labels))


def dual(rates: Rates) -> optax.GradientTransformation:
    """Lookahead(k = 6, α = ½) over RMSprop on λ; compose with `project`."""
    return _lookahead(optax.rmsprop(rates.multiplier, decay=0.99, eps=1e-8, eps_in_sqrt=False))


def project(multipliers: optax.LookaheadParams) -> optax.LookaheadParams:
    """The nearest multipliers in [0, 200]."""
    return jax.tree.map(lambda m: jnp.clip(m, 0.0, LARGEST_MULTIPLIER), multipliers)


def initial_multipliers(layers: int) -> Float[Array, " L"]:
    """λ = 1, one a state."""
    return jnp.ones(layers)


class Moments(NamedTuple):
    """Running means of the gradient and of its square."""

    mean: Any
    square: Any


def scale_by_standard_deviation(
    decay: float = 0.99, epsilon: float = 1e-8, floor: float = 1e-4
) -> optax.GradientTransformation:
    """Centered RMSprop: g / (√max(v − m², floor·v) + ε), m and v running means of g and g².

    `optax.scale_by_stddev` without the floor: once all gates are shut the gradient of c is the same
    at every step, v − m² rounds to a negative number, and the root to a NaN.
    """

    def init(params: Any) -> Moments:
        return Moments(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(gradients: Any, moments: Moments, params: Any = None) -> tuple[Any, Moments]:
        m = optax.tree.update_moment(gradients, moments.mean, decay, 1)
        v = optax.tree.update_moment(gradients, moments.square, decay, 2)

        def scale(g: Array, m: Array, v: Array) -> Array:
            return g / (jnp.sqrt(jnp.maximum(v - m**2, floor * v)) + epsilon)

        return jax.tree.map(scale, gradients, m, v), Moments(m, v)

    return optax.GradientTransformation(init, update)


def _lookahead(fast: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.lookahead(fast, sync_period=6, slow_step_size=0.5)
