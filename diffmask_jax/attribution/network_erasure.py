"""Erasure by search on any network: the fewest tokens that preserve its output (Figure 2d).

What counts as preserved is a criterion, a function of the original and the masked logits. Dropped
tokens are replaced by a baseline in one state (Li et al. 2016; Feng et al. 2018; paper, eq. 2).
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.attribution.judging import Judge, Judged
from diffmask_jax.attribution.subset_search import Effort, Found, check_effort, search
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import Family, Logits
from diffmask_jax.game.masking import mask_state
from diffmask_jax.game.model import Model, Params
from diffmask_jax.game.objective import Clean

Criterion = Callable[[Logits, Logits], Bool[Array, " N"]]
"""(original logits, masked logits) -> which of N masked outputs are as good as the original. A
criterion is hashed by value, since programs are compiled for it."""


@dataclasses.dataclass(frozen=True)
class SamePrediction:
    """The whole prediction is unchanged: the class, all labels, or both argmaxes of a span."""

    family: Family

    def __call__(self, original: Logits, masked: Logits) -> Bool[Array, " N"]:
        """Which of N masked outputs satisfy the criterion."""
        predicted = self.family.prediction(original), self.family.prediction(masked)
        return self.family.agreement(*predicted) == 1


@dataclasses.dataclass(frozen=True)
class Within:
    """The divergence is at most a margin, in nats (paper, eq. 2)."""

    family: Family
    margin: float

    def __call__(self, original: Logits, masked: Logits) -> Bool[Array, " N"]:
        """Which of N masked outputs satisfy the criterion."""
        return self.family.divergence(original, masked) <= self.margin


def search_text(
    model: Model,
    params: Params,
    clean: Clean,
    criterion: Criterion,
    baseline: Float[Array, " D"],
    always: Bool[Array, " T"] | None = None,
    *,
    layer: int = 0,
    effort: Effort,
) -> Found:
    """The fewest tokens of one text that satisfy the criterion when only they are kept.

    clean: the clean pass of that text alone, a batch of one
    always: tokens that are always kept, such as the answer's own or the special ones; none by
        default
    layer: the state in which the baseline replaces dropped tokens, by default the word embeddings

    One program is compiled for each padded length, whatever the budget.

    Raises: UserError if there is not exactly one text, or as `subset_search.check_effort` does.
    """
    check_effort(effort)
    if (texts := len(clean.inputs.valid)) != 1:
        raise UserError(f"a search takes the tokens of one text, not of {texts}")
    always = jnp.zeros(clean.inputs.valid.shape[1], bool) if always is None else always
    passes, width, batch = effort
    found: Found = _search_text(
        model, params, clean, criterion, baseline, always, passes, layer, width, batch
    )
    return found


@functools.partial(jax.jit, static_argnames=("model", "criterion", "layer", "width", "batch"))
def _search_text(
    model: Model,
    params: Params,
    clean: Clean,
    criterion: Criterion,
    baseline: Float[Array, " D"],
    always: Bool[Array, " T"],
    passes: Int[Array, ""] | int,
    layer: int,
    width: int,
    batch: int,
) -> Found:
    inputs = jax.tree.map(lambda a: jnp.repeat(a, batch, axis=0), clean.inputs)
    judge = judge_of(
        lambda state: model.logits_from(params, inputs, state, layer),
        clean.states[layer][0],
        clean.logits,
        model.family,
        criterion,
        baseline,
    )
    return search(judge, jnp.asarray(clean.inputs.valid[0]), always, Effort(passes, width, batch))


def judge_of(
    logits: Callable[[Float[Array, "N T D"]], Logits],
    state: Float[Array, "T D"],
    original: Logits,
    family: Family,
    criterion: Criterion,
    baseline: Float[Array, " D"],
    smallest: int = 0,
) -> Judge:
    """Judges sets of a text's tokens: each is kept in a state whose other positions are replaced.

    logits: N states in place of the text's -> the network's logits
    original: the logits of the whole text, a batch of one
    smallest: sets of fewer tokens are infeasible; 1 where an attribution must point somewhere
        although the baseline alone would suffice
    """

    def judge(sets: Bool[Array, "N T"]) -> Judged:
        states = jnp.broadcast_to(state, (len(sets), *state.shape))
        masked = logits(mask_state(states, sets.astype(state.dtype), baseline))
        same = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(sets), *a.shape[1:])), original)
        enough = jnp.sum(sets, axis=-1) >= smallest
        return Judged(family.divergence(same, masked), criterion(same, masked) & enough)

    return judge


def stretch(span: Int[Array, "B 2"], length: int) -> Bool[Array, "B T"]:
    """The positions of a span, from its start to its end: the answer's own tokens.

    Only the two ends where a predicted end lies before its start.
    """
    position, (start, end) = jnp.arange(length), (span[:, :1], span[:, 1:])
    between = (start <= position) & (position <= end)
    return between | (position == start) | (position == end)
