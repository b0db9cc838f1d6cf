"""What a network's outputs mean: one class, any of several labels, real numbers, or a span.

As in transformers, a sequence classifier's head follows from `problem_type` or else from the number
of outputs; `SPANS` is for the classes that answer questions.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL, MULTI_LABEL, SPAN, Family, gaussian
from diffmask_jax.models import answers, problem_types, scores
from diffmask_jax.models.answers import Answer

Gold = np.ndarray
"""Gold labels: (N,) class numbers, (N, C) zeros and ones, or (N, C) real numbers; for spans (N, 2),
the first and the last position, or (N, A, 2) by A annotators, filled up with -1."""


class Score(NamedTuple):
    """One of the scores of a head; is_share: whether it lies in [0, 1]."""

    name: str
    title: str
    is_share: bool

    def shown(self, value: float) -> str:
        """The value as people read it: shares in percent; "–" if it is undefined."""
        if math.isnan(value):
            return "–"
        return f"{value:.1%}" if self.is_share else f"{value:.3f}"


ACCURACY = Score("accuracy", "accuracy", True)
MACRO_F1 = Score("macro_f1", "macro-F1", True)
MICRO_F1 = Score("micro_f1", "micro-F1", True)
PEARSON = Score("pearson", "Pearson's r", False)
ERROR = Score("error", "root mean square error", False)
EXACT_MATCH = Score("exact_match", "exact match of pieces", True)
OVERLAP = Score("f1", "F1 of pieces", True)


class Head(NamedTuple):
    """What a network's outputs mean.

    Attributes:
        problem_type: its name in transformers; ours for spans, for which there is none.
        fewest: the least number of outputs.
        family: scale -> its family of distributions. The scale of a regression is the variance s²
            of its outputs over a data set; the others have none.
        scale: outputs (N, C) over a data set -> their scale; None if the head has none.
        answer: (labels, one row of `Family.outputs`, the text or pair, its word pieces) -> the
            answer. Padding after the pieces is ignored.
        loss: (logits, gold) -> (B,) nats, the loss of fine-tuning.
        scores: the scores that are measured against gold labels.
        measure: (prediction, gold) -> each of them by name, in [0, 1] or in the outputs' units.
        best: the score by which fine-tuning selects its best epoch.
        check_gold: (gold, number of outputs) -> None. Raises: UserError if they do not match.
        spans: whether it reads a question and a passage, and has logits at every position.
    """

    problem_type: str
    fewest: int
    family: Callable[[float], Family]
    scale: Callable[[Float[np.ndarray, "N C"]], float] | None
    answer: Callable[[Sequence[str], Float[np.ndarray, "..."], Text, Encoded], Answer]
    loss: Callable[[Any, Array], Array]
    scores: tuple[Score, ...]
    measure: Callable[[Any, Gold], dict[str, float]]
    best: str
    check_gold: Callable[[Gold, int], None]
    spans: bool = False

    @property
    def examples(self) -> str:
        """What its examples are called: questions, about passages, or texts."""
        return "questions" if self.spans else "texts"


def head_of(problem_type: Any, outputs: int) -> Head:
    """The head of a sequence classifier with this number of outputs, chosen as in transformers.

    Without a `problem_type`, one output is a regression and more are classes.

    Raises: UserError if it is not one of HEADS, or has too few outputs.
    """
    kind = problem_type or (
        problem_types.REGRESSION if outputs == 1 else problem_types.SINGLE_LABEL
    )
    if not isinstance(kind, str) or kind not in HEADS:
        raise UserError(f"problem_type {kind!r} is not supported, only {', '.join(HEADS)}")
    head = HEADS[kind]
    if outputs < head.fewest:
        raise UserError(f"a {kind} needs {head.fewest} outputs or more, but the checkpoint has one")
    return head


def _span_loss(
    logits: Float[Array, "B T 2"], gold: Int[Array | np.ndarray, "B *A 2"]
) -> Float[Array, " B"]:
    """Half of −log p(start) − log p(end) of the first gold span, nats; 0 if there is none."""
    first = gold.reshape(len(gold), -1, 2)[:, 0]
    surprisal = SPAN.surprisal(logits, jnp.maximum(first, 0))
    return jnp.where(first[:, 0] < 0, 0.0, surprisal / 2)


def _check_classes(gold: Gold, outputs: int) -> None:
    lowest, highest = gold.min(), gold.max()
    if lowest < 0 or highest >= outputs:
        raise UserError(
            f"the data has labels {lowest}–{highest}, but the model has {outputs} classes"
        )


def _check_shape(gold: Gold, outputs: int) -> None:
    if gold.ndim != 2 or gold.shape[1] != outputs:
        raise UserError(
            f"the data has {gold.shape[1] if gold.ndim == 2 else 1} labels per text, but the "
            f"model has {outputs} outputs"
        )


def _check_spans(gold: Gold, outputs: int) -> None:
    if gold.ndim not in (2, 3) or gold.shape[-1] != 2 or (gold[..., 0] > gold[..., 1]).any():
        raise UserError(
            "the answers in the data are not pairs of a first and a last word piece: they are not "
            "for a model that answers questions"
        )


def _variance(outputs: Float[np.ndarray, "N C"]) -> float:
    variance = float(np.mean(np.var(outputs, axis=0)))
    if not 0 < variance < np.inf:
        raise UserError(
            f"the model's outputs over the training texts have a variance of {variance:g}: "
            "there is nothing to explain"
        )
    return variance


SINGLE_LABEL = Head(
    problem_type=problem_types.SINGLE_LABEL,
    fewest=2,
    family=lambda scale: CATEGORICAL,
    scale=None,
    answer=answers.one_class,
    loss=optax.softmax_cross_entropy_with_integer_labels,
    scores=(ACCURACY, MACRO_F1),
    measure=lambda prediction, gold: {
        "accuracy": scores.accuracy(prediction, gold),
        "macro_f1": scores.macro_f1(prediction, gold),
    },
    best="macro_f1",
    check_gold=_check_classes,
)

MULTI_LABEL_HEAD = Head(
    problem_type=problem_types.MULTI_LABEL,
    fewest=1,
    family=lambda scale: MULTI_LABEL,
    scale=None,
    answer=answers.set_of_labels,
    loss=lambda logits, gold: jnp.sum(optax.sigmoid_binary_cross_entropy(logits, gold), axis=-1),
    scores=(ACCURACY, MACRO_F1, MICRO_F1),
    measure=lambda prediction, gold: {
        "accuracy": scores.accuracy(prediction, gold),
        "macro_f1": scores.macro_f1_of_labels(prediction, gold),
        "micro_f1": scores.micro_f1_of_labels(prediction, gold),
    },
    best="macro_f1",
    check_gold=_check_shape,
)

REGRESSION = Head(
    problem_type=problem_types.REGRESSION,
    fewest=1,
    family=gaussian,
    scale=_variance,
    answer=answers.numbers,
    loss=lambda outputs, gold: jnp.sum((outputs - gold) ** 2, axis=-1) / 2,
    scores=(PEARSON, ERROR),
    measure=lambda prediction, gold: {
        "pearson": scores.pearson(prediction, gold),
        "error": scores.root_mean_square(prediction, gold),
    },
    best="pearson",
    check_gold=_check_shape,
)

SPANS = Head(
    problem_type=problem_types.QUESTION_ANSWERING,
    fewest=2,
    family=lambda scale: SPAN,
    scale=None,
    answer=answers.answer_span,
    loss=_span_loss,
    scores=(EXACT_MATCH, OVERLAP),
    measure=lambda prediction, gold: {
        "exact_match": scores.exact_match(prediction, gold),
        "f1": scores.overlap_f1(prediction, gold),
    },
    best="f1",
    check_gold=_check_spans,
    spans=True,
)

HEADS = {head.problem_type: head for head in (SINGLE_LABEL, MULTI_LABEL_HEAD, REGRESSION)}
"""The heads of sequence classifiers, by their names in config.json."""
