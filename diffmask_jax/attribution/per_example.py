"""DiffMask and REINFORCE without a probe: one small game per example (paper, section 3.2, Table 2).

Both minimise L₀ + λ·(D − m) over one logit per position, with a separate multiplier for each
example; they differ in the gates and in how the gradient of D passes through them. L₀ is the mean
over positions of P(z ≠ 0), the paper's count divided by the length, so that λ means the same at
every length. Optimisers are elementwise and losses summed, so examples do not interact.

The optimiser is Adam. The probe's centered RMSprop divides a steady gradient by almost nothing;
that of L₀ is steady here, so all gates would close for good before λ has risen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.lax import stop_gradient
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.attribution.erasure import Divergence
from diffmask_jax.game import hard_concrete
from diffmask_jax.game.lagrangian import lagrangian
from diffmask_jax.game.masking import mask_state, mean_over_valid
from diffmask_jax.game.multipliers import LARGEST

LARGEST_LOGIT, START_LOGIT = 10.0, 5.0
MEMORY = 0.99  # of REINFORCE's moving average


class Settings(NamedTuple):
    """Margin in nats, number of steps, and the learning rates of the logits and of λ.

    Under `jax.jit` all of them may be traced, so that one program serves every setting.
    """

    margin: float = 0.05
    steps: int = 1500
    rate: float = 0.05
    multiplier_rate: float = 0.2


class Gates(NamedTuple):
    """What is learned: the logits of the gates, and λ of each example."""

    logits: Float[Array, "B T"]
    multipliers: Float[Array, " B"]


Play = Callable[[Gates, Any, Key[Array, ""]], tuple[Float[Array, " B"], Any]]
"""(gates, the method's own state, key) -> a loss per example, and that state's next value."""


def diffmask(
    key: Key[Array, ""],
    divergence: Divergence,
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    baseline: Float[Array, " D"],
    settings: Settings,
) -> Gates:
    """Hard Concrete gates, through which the gradient of D passes.

    Attribution: `hard_concrete.keep_probability` of the logits.
    """

    def play(gates: Gates, memory: Any, key: Key[Array, ""]) -> tuple[Float[Array, " B"], Any]:
        gate = hard_concrete.sample(key, gates.logits)
        excess = divergence(mask_state(state, gate, baseline)) - settings.margin
        sparsity = mean_over_valid(hard_concrete.keep_probability(gates.logits), valid)
        return lagrangian(sparsity, excess, gates.multipliers), memory

    return _minimise(key, play, None, valid, settings)


def reinforce(
    key: Key[Array, ""],
    divergence: Divergence,
    state: Float[Array, "B T D"],
    valid: Bool[Array, "B T"],
    baseline: Float[Array, " D"],
    settings: Settings,
) -> Gates:
    """Bernoulli gates, P(z = 1) = σ(a), and the score-function gradient (Williams 1992).

    ∇E[R] = E[(R − c)·∇ log P(z)] with R = λ·(D − m) and c the moving average of the example's R;
    the gradient of L₀, the mean of σ(a), is exact. Attribution: σ of the logits.
    """

    def play(
        gates: Gates, memory: Float[Array, " B"], key: Key[Array, ""]
    ) -> tuple[Float[Array, " B"], Any]:
        z = jax.random.bernoulli(key, sigmoid(gates.logits)).astype(state.dtype)
        excess = stop_gradient(divergence(mask_state(state, z, baseline))) - settings.margin
        average = MEMORY * memory + (1 - MEMORY) * stop_gradient(gates.multipliers) * excess
        return score_function_loss(gates, z, excess, memory, valid), average

    return _minimise(key, play, jnp.zeros(valid.shape[0]), valid, settings)


def score_function_loss(
    gates: Gates,
    z: Float[Array, "B T"],
    excess: Float[Array, " B"],
    average: Float[Array, " B"],
    valid: Bool[Array, "B T"],
) -> Float[Array, " B"]:
    """REINFORCE's loss of an example, given its sampled gates z and the constant D − m.

    The expectation over z of its gradient in the logits is that of L₀ + λ·E[D − m], whatever
    `average` is subtracted from the reward; its gradient in λ is −(D − m).
    """
    chosen = log_sigmoid(jnp.where(z == 1, gates.logits, -gates.logits))
    log_probability = jnp.sum(jnp.where(valid, chosen, 0.0), axis=-1)
    reward = stop_gradient(gates.multipliers) * excess
    sparsity = mean_over_valid(sigmoid(gates.logits), valid)
    return sparsity + (reward - average) * log_probability - gates.multipliers * excess


def _minimise(
    key: Key[Array, ""], play: Play, memory: Any, valid: Bool[Array, "B T"], settings: Settings
) -> Gates:
    """All steps in one program: descend in the logits, ascend in λ, keep both within bounds."""
    descent = optax.adam(settings.rate, b1=0.9, b2=0.99)
    ascent = optax.rmsprop(settings.multiplier_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)

    def loss(gates: Gates, memory: Any, key: Key[Array, ""]) -> tuple[Float[Array, ""], Any]:
        losses, memory = play(gates, memory, key)
        return jnp.sum(losses), memory

    def step(number: Int[Array, ""], carry: tuple) -> tuple:
        gates, memory, (down, up) = carry
        noise = jax.random.fold_in(key, number)
        gradient, memory = jax.grad(loss, has_aux=True)(gates, memory, noise)
        by, down = descent.update(gradient.logits, down)
        logits = jnp.clip(gates.logits + by, -LARGEST_LOGIT, LARGEST_LOGIT)
        by, up = ascent.update(gradient.multipliers, up)
        multipliers = jnp.clip(gates.multipliers + by, 0.0, LARGEST)
        return Gates(logits, multipliers), memory, (down, up)

    start = Gates(jnp.full(valid.shape, START_LOGIT), jnp.ones(valid.shape[0]))
    carry = start, memory, (descent.init(start.logits), ascent.init(start.multipliers))
    gates, _, _ = jax.lax.fori_loop(0, settings.steps, step, carry)
    return gates._replace(logits=jnp.where(valid, gates.logits, -LARGEST_LOGIT))
