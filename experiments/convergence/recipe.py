"""A way of playing the game, as plain values, and its players."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffmask_jax.game.multipliers import ascend, control
from diffmask_jax.game.optimizers import averaged, lookahead, scale_by_standard_deviation
from diffmask_jax.game.players import Players, descent, falling

RISE = 250
"""The steps after which margins that rise with depth are the whole margin at every layer."""


class Recipe(NamedTuple):
    """One way of playing; everything else is as in `diffmask train`.

    batch: examples per step, each draw counted
    layers: what a depth is drawn for (`steps.LAYERS`)
    optimizer: of φ and b, "rmsprop" (centered) or "adam"
    rate, baseline_rate, warmup: of that optimiser
    fall: how both rates fall: with the inverse "root" of the steps, 1/√(1 + t/1000), as half a
        "cosine" over the whole trial, or not at all, "none"
    slow: the probe that is evaluated: the "average" of the fast one, its "lookahead", or the "fast"
        one itself
    dual: "control", by integral and proportional; "ascend", by multiplier_rate; "rmsprop", like
        that, but layers that a batch does not play enter the moments as zeros
    multiplier: λ·m at the start
    shallow: the share of the margin that λ holds W to at the start; it rises evenly to the whole
        at the last layer, and everywhere within `RISE` steps
    pull: ε of `objective`
    opening: c of a fresh gate network, the logit at which votes start
    deeper: what is added to c in all layers but the first
    baselines: where they start: at the model's states of "no word", or at the "means" of states
    networks: how they start: "calibrated" to the states, or as "drawn"
    draws: draws of the gates per text
    """

    batch: int = 32
    layers: str = "example"
    optimizer: str = "rmsprop"
    rate: float = 1.5e-3
    baseline_rate: float = 3e-3
    warmup: int = 100
    fall: str = "root"
    slow: str = "average"
    dual: str = "control"
    integral: float = 0.001
    proportional: float = 1.0
    multiplier_rate: float = 0.3
    multiplier: float = 0.2
    shallow: float = 1.0
    pull: float = 0.003
    opening: float = 5.0
    deeper: float = 0.0
    baselines: str = "no word"
    networks: str = "calibrated"
    draws: int = 1


BEFORE = Recipe(
    batch=64,
    rate=1e-3,
    warmup=200,
    fall="none",
    slow="lookahead",
    dual="rmsprop",
    multiplier=0.1,
    pull=0.0,
    baselines="means",
    networks="drawn",
)

RECIPES = {
    "recipe": Recipe(),
    "one layer a batch": Recipe(layers="batch"),
    "ascent of λ": Recipe(dual="ascend"),
    "integral only": Recipe(proportional=0.0),
    "less proportional": Recipe(proportional=0.3),
    "faster λ": Recipe(integral=0.002),
    "much faster λ": Recipe(integral=0.004),
    "λ·m from 0.1": Recipe(multiplier=0.1),
    "λ·m from 0.5": Recipe(multiplier=0.5),
    "λ·m from 1": Recipe(multiplier=1.0),
    "margins that rise with depth": Recipe(shallow=0.125),
    "no pull": Recipe(pull=0.0),
    "more pull": Recipe(pull=0.01),
    "much more pull": Recipe(pull=0.03),
    "lookahead": Recipe(slow="lookahead"),
    "no average": Recipe(slow="fast"),
    "adam": Recipe(optimizer="adam"),
    "lower rates": Recipe(rate=5e-4, baseline_rate=1e-3),
    "higher rates": Recipe(rate=3e-3, baseline_rate=6e-3),
    "constant rates": Recipe(fall="none"),
    "rates that fall to 0": Recipe(fall="cosine"),
    "deep votes wider open": Recipe(deeper=2.0),
    "gates from 2": Recipe(opening=2.0),
    "smaller batches": Recipe(batch=16),
    "larger batches": Recipe(batch=64),
    "two draws": Recipe(draws=2),
    "networks as drawn": Recipe(networks="drawn"),
    "baselines at mean states": Recipe(baselines="means"),
    "before, a depth an example": BEFORE,
    "before, a depth a batch": BEFORE._replace(layers="batch", multiplier=0.05),
}
"""The recipe, its variations, and what `diffmask train` played before.

A variation changes one thing.

The last two are the former ways of playing for the input and for the hidden probe; at their margins
of 0.1 and 0.05 nats, λ starts at 1.
"""

PLAYED_BEFORE = {"input": "before, a depth an example", "hidden": "before, a depth a batch"}


def players(recipe: Recipe, margin: float, steps: int) -> Players:
    """The players of a recipe for so many steps."""
    scale = {"rmsprop": scale_by_standard_deviation(), "adam": optax.scale_by_adam(b2=0.99)}
    rates = (_rate(recipe, peak, steps) for peak in (recipe.rate, recipe.baseline_rate))
    slow = {"average": averaged, "lookahead": lookahead, "fast": _itself}[recipe.slow]
    dual = {
        "control": control(margin, recipe.integral, recipe.proportional),
        "ascend": ascend(recipe.multiplier_rate),
        "rmsprop": lookahead(optax.rmsprop(recipe.multiplier_rate, 0.99, eps_in_sqrt=False)),
    }
    primal = slow(descent(scale[recipe.optimizer], *rates))
    held = dual[recipe.dual]
    if recipe.shallow < 1:
        held = rising(margin, recipe.shallow, held)
    return Players(primal, held, recipe.multiplier / margin)


def rising(
    margin: float, shallow: float, dual: optax.GradientTransformation
) -> optax.GradientTransformation:
    """A dual player that is told (D − m_ℓ)·m/m_ℓ for D − m, so that it holds layer ℓ to m_ℓ.

    m_ℓ = m·(s + (1 − s)·min(1, ℓ/(L − 1) + t/RISE)): from `shallow` s at the first of several
    layers to the whole at the last, and to the whole everywhere from step t = RISE.
    """

    def init(multipliers: optax.LookaheadParams) -> tuple[Array, Any]:
        return jnp.zeros((), jnp.int32), dual.init(multipliers)

    def update(
        gradient: Float[Array, " L"],
        state: tuple[Array, Any],
        multipliers: optax.LookaheadParams | None,
    ) -> tuple[Any, tuple[Array, Any]]:
        step, inner = state
        depth = jnp.linspace(0.0, 1.0, len(gradient))
        share = shallow + (1 - shallow) * jnp.minimum(1.0, depth + step / RISE)
        held = jnp.where(gradient == 0, 0.0, (gradient - (1 - share) * margin) / share)
        moves, inner = dual.update(held, inner, multipliers)
        return moves, (step + 1, inner)

    return optax.GradientTransformation(init, update)


def _itself(fast: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.lookahead(fast, sync_period=1, slow_step_size=1.0)


def _rate(recipe: Recipe, peak: float, steps: int) -> optax.Schedule:
    if recipe.fall == "root":
        return functools.partial(falling, peak, recipe.warmup)

    def rate(step: Any) -> Any:
        warm = jnp.minimum(1.0, step / max(recipe.warmup, 1))
        fall: dict[str, Any] = {
            "none": 1.0,
            "cosine": (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0))) / 2,
        }
        return peak * warm * fall[recipe.fall]

    return rate
