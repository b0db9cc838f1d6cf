"""The parts of the players' optimisers that optax lacks.

They update pairs of parameters, `optax.LookaheadParams`: gradients are taken at the fast ones;
the slow ones are evaluated and saved. `players` puts the parts together.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


class Moments(NamedTuple):
    """Running means of the gradient and of its square."""

    mean: Any
    square: Any


def scale_by_standard_deviation(
    decay: float = 0.99, epsilon: float = 1e-8, floor: float = 1e-4
) -> optax.GradientTransformation:
    """Centered RMSprop: g / (√max(v − m², floor·v) + ε), m and v running means of g and g².

    `optax.scale_by_stddev` has no floor: once all gates are closed the gradient of c is the same at
    every step, v − m² rounds to a negative number, and its root is nan.
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


def _where_played(gradients: Any, moves: Any) -> Any:
    """The moves, but 0 where the gradient is exactly 0."""
    return jax.tree.map(lambda g, move: jnp.where(g != 0, move, 0.0), gradients, moves)


def standing_still(scale: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same scaling, but entries whose gradient is exactly 0 do not move, nor do their moments.

    A batch says nothing about the layers that it did not play, and zeros in their moments would
    make the next steps too long. The authors' code skips parameters without a gradient, too.

    scale: its state must hold nothing but moments, each shaped like the parameters
    """

    def update(gradients: Any, moments: Any, params: Any = None) -> tuple[Any, Any]:
        def moved(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda g, n, o: jnp.where(g != 0, n, o), gradients, new, old)

        updates, new = scale.update(gradients, moments, params)
        return _where_played(gradients, updates), type(new)(*map(moved, new, moments))

    return optax.GradientTransformation(scale.init, update)


def lookahead(fast: optax.GradientTransformation) -> optax.GradientTransformation:
    """Lookahead(k = 6, α = ½) (Zhang et al. 2019): every 6 steps the slow parameters move half way
    to the fast ones, which continue from there."""
    return optax.lookahead(fast, sync_period=6, slow_step_size=0.5)


def staying(pairs: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same moves of a pair, but entries whose gradient is exactly 0 stay, fast and slow alike.

    Around `lookahead`: the authors' code skips parameters without a gradient there, too.
    """

    def update(
        gradients: Any, state: Any, params: optax.LookaheadParams | None = None
    ) -> tuple[optax.LookaheadParams, Any]:
        moves, state = pairs.update(gradients, state, params)
        return optax.LookaheadParams(*(_where_played(gradients, part) for part in moves)), state

    return optax.GradientTransformation(pairs.init, update)


class Averaging(NamedTuple):
    """The number of steps averaged so far, and the fast optimiser's state."""

    steps: Int[Array, ""]
    fast: Any


def averaged(
    fast: optax.GradientTransformation, sharpness: float = 8.0
) -> optax.GradientTransformation:
    """The slow parameters are a running average of the fast ones, which are not affected by it.

    θ̄ ← θ̄ + (η + 1)/(t + η + 1)·(θ − θ̄), t = 0, 1, …: polynomial-decay averaging (Shamir & Zhang
    2013), where η is the sharpness. About the last 1/(η + 1) of all steps count, however many there
    are, so that the number of steps need not be known in advance.
    """

    def init(params: optax.LookaheadParams) -> Averaging:
        return Averaging(jnp.zeros((), jnp.int32), fast.init(params.fast))

    def update(
        gradients: Any, state: Averaging, params: optax.LookaheadParams | None = None
    ) -> tuple[optax.LookaheadParams, Averaging]:
        assert params is not None
        moves, inner = fast.update(gradients, state.fast, params.fast)
        weight = (sharpness + 1) / (state.steps + sharpness + 1)
        slow = jax.tree.map(
            lambda slow, now, move: weight * (now + move - slow), params.slow, params.fast, moves
        )
        return optax.LookaheadParams(moves, slow), Averaging(state.steps + 1, inner)

    return optax.GradientTransformation(init, update)
