"""The methods of comparison (paper, section 3.2), for batches, and their table.

Each is a function (key, `Explained`) -> attributions (B, T). What stands at padding has no
influence; those that draw noise draw other noise for other numbers of texts and positions.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from diffmask_jax.attribution import erasure
from diffmask_jax.attribution.gradient import gradient_times_input
from diffmask_jax.attribution.guan import tolerated_noise
from diffmask_jax.attribution.integrated_gradients import (
    IntegratedGradients,
    completed,
    integrated_gradients,
)
from diffmask_jax.attribution.network_erasure import SamePrediction, judge_of, stretch
from diffmask_jax.attribution.per_example import Settings, diffmask
from diffmask_jax.attribution.schulz import restrict_flow
from diffmask_jax.attribution.subject import Explained, Method
from diffmask_jax.attribution.subset_search import Effort, search
from diffmask_jax.game import hard_concrete
from diffmask_jax.game.divergences import Prediction


def integrated(key: Key[Array, ""], subject: Explained, *, steps: int) -> Float[Array, "B T"]:
    """Integrated gradients of the prediction's score, a class's logit, from zero, without signs."""
    return integrated_by(subject, functools.partial(integrated_gradients, steps=steps))


def integrated_completely(key: Key[Array, ""], subject: Explained) -> Float[Array, "B T"]:
    """Integrated gradients with as many steps as completeness requires."""
    return integrated_by(subject, completed)


def integrated_by(
    subject: Explained, integrate: Callable[..., IntegratedGradients]
) -> Float[Array, "B T"]:
    """Integrated gradients by a given integral, (score, state, valid) -> contributions."""
    prediction = subject.family.prediction(subject.clean.logits)
    gradients = integrate(
        lambda state: subject.family.score(subject.logits(state), prediction),
        subject.state,
        subject.clean.inputs.valid,
    )
    return jnp.abs(gradients.contribution)


def gradient(key: Key[Array, ""], subject: Explained) -> Float[Array, "B T"]:
    """Gradient times input of the prediction's score, a class's logit, without signs."""
    prediction = subject.family.prediction(subject.clean.logits)
    values = gradient_times_input(
        lambda state: subject.family.score(subject.logits(state), prediction),
        subject.state,
        subject.clean.inputs.valid,
    )
    return jnp.abs(values)


def schulz(key: Key[Array, ""], subject: Explained, *, steps: int) -> Float[Array, "B T"]:
    """Restricting the flow, with the prediction's surprisal as the loss."""
    prediction = subject.family.prediction(subject.clean.logits)
    return schulz_of(key, subject, prediction, steps=steps)


def schulz_of(
    key: Key[Array, ""], subject: Explained, decision: Prediction, *, steps: int
) -> Float[Array, "B T"]:
    """Restricting the flow with the surprisal of a given decision, such as the gold labels."""
    return restrict_flow(
        key,
        lambda state: subject.family.surprisal(subject.logits(state), decision),
        subject.state,
        subject.clean.inputs.valid,
        subject.statistics,
        steps,
    )


def guan(
    key: Key[Array, ""], subject: Explained, *, steps: int, weight: float | Float[Array, " B"]
) -> Float[Array, "B T"]:
    """The inverse of the noise that the logits tolerate (`tolerated_noise`)."""

    def output(state: Array) -> Float[Array, "B _"]:
        leaves = jax.tree.leaves(subject.logits(state))
        return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=-1)

    return tolerated_noise(
        key, output, subject.state, subject.clean.inputs.valid, steps, weight=weight
    )


class Searched(NamedTuple):
    """Attributions from a search, with its certificate for each text.

    complete: whether no smaller set is sufficient: all were judged
    whole: whether the share is of all sets of that size, too, and not of a single one
    """

    share: Float[Array, "*L B T"]
    complete: Bool[Array, "*L B"]
    whole: Bool[Array, "*L B"]


def smallest_sets(
    key: Key[Array, ""],
    subject: Explained,
    *,
    passes: int,
    always: Callable[[Explained], Bool[Array, "B T"]] | None = None,
    width: int = 5,
    batch: int = 32,
) -> Searched:
    """For each token, the share of the smallest sufficient sets that contain it.

    A set is sufficient if the prediction stays when all other tokens are replaced by zeros, as in
    the authors' search; at least one token is kept. If the budget does not cover all sets of that
    size: 1 for the tokens of the best set found, be it by the beam search, and 0 for the others.

    passes: the budget for each token of a text
    always: the tokens that are in every set, such as `own_answer`; none by default
    width, batch: as in `subset_search.Effort`
    """
    nothing = jnp.zeros(subject.clean.inputs.valid.shape, bool)
    fixed = nothing if always is None else always(subject)

    def of_text(text: Int[Array, ""]) -> Searched:
        state = subject.state[text]
        valid = jnp.asarray(subject.clean.inputs.valid)[text]
        judge = judge_of(
            lambda states: subject.logits(states, jnp.full(len(states), text)),
            state,
            jax.tree.map(lambda a: a[text][None], subject.clean.logits),
            subject.family,
            SamePrediction(subject.family),
            baseline=jnp.zeros_like(state[0]),
            smallest=1,
        )
        effort = Effort(passes * jnp.sum(valid), width, batch)
        found = search(judge, valid, fixed[text], effort)
        return Searched(found.share, found.complete, found.optima > 0)

    searched: Searched = jax.lax.map(of_text, jnp.arange(len(subject.state)))
    return searched


def own_answer(subject: Explained) -> Bool[Array, "B T"]:
    """The tokens of the predicted answers to questions (`network_erasure.stretch`)."""
    return stretch(subject.family.prediction(subject.clean.logits), subject.state.shape[1])


def leave_one_out(key: Key[Array, ""], subject: Explained) -> Float[Array, "B T"]:
    """The divergence in nats when only a position's state is replaced by the data's mean state."""
    return erasure.leave_one_out(
        _divergence(subject), subject.state, subject.clean.inputs.valid, subject.statistics.mean
    )


def per_example(
    key: Key[Array, ""], subject: Explained, *, settings: Settings
) -> Float[Array, "B T"]:
    """P(z ≠ 0) of DiffMask's gates learned for each text alone; the baseline is the mean state."""
    valid = subject.clean.inputs.valid
    mean = subject.statistics.mean
    gates = diffmask(key, _divergence(subject), subject.state, valid, mean, settings)
    return jnp.where(valid, hard_concrete.keep_probability(gates.logits), 0.0)


def _divergence(subject: Explained) -> erasure.Divergence:
    original = subject.clean.logits
    return lambda state: subject.family.divergence(original, subject.logits(state))


class Named(NamedTuple):
    """A method with its settings: its name, the meaning of its values, and the function.

    needs_noise: whether it reads `Explained.noise`, which takes a pass over a data set
    """

    title: str
    values: str
    attribute: Method
    needs_noise: bool = False


STEPS = 50  # the authors', on SST
PASSES = 12  # the budget of a search for erasure, for each token of a text

# The authors' settings on SST, but for integrated gradients, whose 50 steps are too few, and for
# Guan et al., where 0.1 weighs the mean of the positions' entropies; the authors weigh their sum.
ON_TEXT: dict[str, Named] = {
    "gradient": Named(
        "Gradient × input", "|first-order effect| on the score of the prediction", gradient
    ),
    "integrated_gradients": Named(
        "Integrated gradients",
        "|contribution| to the score of the prediction",
        integrated_completely,
    ),
    "schulz": Named(
        "Schulz et al. (2020)",
        "share of the state that passes an information bottleneck",
        functools.partial(schulz, steps=STEPS),
        needs_noise=True,
    ),
    "guan": Named(
        "Guan et al. (2019)",
        "1/σ of the noise that the logits tolerate",
        functools.partial(guan, steps=STEPS, weight=0.1),
    ),
    "erasure": Named(
        "Erasure, by search",
        "share of the smallest sufficient sets",
        functools.partial(smallest_sets, passes=PASSES),
    ),
    "leave_one_out": Named(
        "Leave one out",
        "nats of divergence when its state is replaced by the mean state",
        leave_one_out,
        needs_noise=True,
    ),
}
USUAL = ("gradient", "integrated_gradients", "schulz", "guan")
PER_EXAMPLE = Settings(steps=300, rate=0.1, multiplier_rate=0.05)
"""What 300 steps need: the best of `experiments.erasure_tuning`, whose study plays 1500."""


def with_margin(margin: float) -> dict[str, Named]:
    """ON_TEXT, and DiffMask for each text alone with this margin, in nats."""
    return ON_TEXT | {"per_example": _alone(margin)}


@functools.cache
def _alone(margin: float) -> Named:
    settings = PER_EXAMPLE._replace(margin=margin)
    return Named(
        "DiffMask, per example",
        "keep probability of gates learned for this text alone; the mean state replaces the rest",
        functools.partial(per_example, settings=settings),
        needs_noise=True,
    )


IN_THE_PAPER = ("integrated_gradients", "schulz", "guan")
