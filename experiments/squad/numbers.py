"""The numbers of the paper's section 3.3 and Appendix D.2, from several runs.

Questions about one passage are not independent: intervals draw them together, a standard error
counts passages, and a test has one difference a passage, the mean of its questions'.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffmask_jax.analysis import question_keep, token_groups
from diffmask_jax.analysis.bootstrap import Interval, grouped_interval
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.question_keep import KeptCurves
from diffmask_jax.analysis.token_groups import Difference
from diffmask_jax.tasks import squad_scores
from diffmask_jax.tasks.question_tags import QuestionTags
from diffmask_jax.tasks.scoring import scored_texts
from experiments.common.measuring import PerText
from experiments.squad.certainty import Third, thirds
from experiments.squad.left import Left, what_is_left
from experiments.squad.parts_of_speech import Tagged, by_tag, tags_of_pieces
from experiments.squad.stages import Answers
from experiments.squad.study import Study

UPPER = 2 / 3
"""The upper third of a network lies above this share of its depth."""

HALFWAY = 9 / 24
"""The depth of the paper's layer 9 of 24."""

LOWEST, NEXT = ("E", "1"), ("2", "3")
"""The states of which the paper says that the first are dropped more than the second."""


class Faithful(NamedTuple):
    """Faithfulness of a run's gates, by layer: shares, and nats."""

    masked: list[float]
    divergence: list[float]
    positions_kept: list[float]
    spans_kept: list[float]


class OfGate(NamedTuple):
    """The numbers of one gate; keep probabilities are averaged over its runs.

    sampled: faithfulness with sampled gates, for each run
    deviations: the standard deviation of each keep probability over the runs, by layer, averaged
        over tokens; None for one run
    top: its means over the upper third of the layers, by the name of the number
    by_certainty: these for the questions in thirds, the least sure answers first
    masked: its share masked, by layer
    lowest_minus_next: its share masked at `LOWEST` minus that at `NEXT`; None without such states
    kept: Figure 7's curves
    left: the pieces that are more likely kept than not
    gold_when_wrong: the dashed one of these, mean over the upper third; None if none is wrong
    question_minus_passage, question_minus_passage_top: over all layers, and over the upper third
    separators: mean keep probability of both [SEP], by layer
    """

    sampled: list[Faithful]
    deviations: Float[np.ndarray, " L"] | None
    top: dict[str, Interval]
    by_certainty: list[Third]
    masked: Interval
    lowest_minus_next: Interval | None
    kept: KeptCurves
    left: Left
    gold_when_wrong: Interval | None
    question_minus_passage: Difference
    question_minus_passage_top: Difference
    separators: Interval
    tagged: Tagged | None


def depths(layers: Sequence[str]) -> Float[np.ndarray, " L"]:
    """The depth of each state, from 0 for the embeddings to 1 for the last block."""
    blocks = [int(layer) if layer.isdigit() else 0 for layer in layers]
    return np.array(blocks) / max(*blocks, 1)


def above(layers: Sequence[str], share: float) -> Bool[np.ndarray, " L"]:
    """Which states are deeper than a share of the network."""
    return depths(layers) > share


def by_question(outcome: Outcome) -> dict[str, Float[np.ndarray, "L N"]]:
    """The fields of `Faithful` for each question; a span stays if its start and its end do."""
    spans = (outcome.prediction == outcome.original).all(axis=-1).astype(float)
    found = (outcome.masked, outcome.divergence, outcome.agreement, spans)
    return dict(zip(Faithful._fields, map(np.asarray, found), strict=True))


def faithful(outcome: Outcome) -> Faithful:
    """The means over questions."""
    return Faithful(*(of.mean(axis=1).tolist() for of in by_question(outcome).values()))


def over_layers(
    outcomes: Sequence[Outcome], chosen: Bool[np.ndarray, " L"]
) -> dict[str, Float[np.ndarray, " N"]]:
    """The fields of `Faithful` for each question: means over some layers, and runs."""
    runs = [by_question(outcome) for outcome in outcomes]
    return {
        name: np.mean([run[name][chosen].mean(axis=0) for run in runs], axis=0)
        for name in Faithful._fields
    }


def scores(study: Study, answers: Answers) -> dict[str, Interval]:
    """SQuAD's own scores of the best legal spans, in points, with their intervals."""
    texts, gold = scored_texts(study.data.encoded, study.data.questions, answers.spans)
    return {
        score.__name__: grouped_interval(
            100 * np.array([score(*pair) for pair in zip(texts, gold, strict=True)]),
            study.passages,
        )
        for score in (squad_scores.f1, squad_scores.exact_match)
    }


def of_gate(
    study: Study,
    keep: PerText,
    sampled: Sequence[Outcome],
    answers: Answers,
    tags: Sequence[QuestionTags] | None,
    deviations: Float[np.ndarray, " L"] | None,
) -> OfGate:
    """All numbers of one gate. keep: averaged over the runs; sampled: for each run."""
    parts, layers, passages = study.parts, study.model.network.layers, study.passages
    upper = above(layers, UPPER)
    top = over_layers(sampled, upper)
    masked = np.mean([by_question(outcome)["masked"] for outcome in sampled], axis=0)
    values = [token_groups.layers_kept(text) for text in keep]
    spans = study.data.spans
    wrong = [
        number
        for number, (ends, gold) in enumerate(zip(answers.ends, spans, strict=True))
        if gold and not question_keep.is_right(ends, gold)
    ]
    gold_kept = [question_keep.gold_keep(keep[n], spans[n])[upper].mean() for n in wrong]
    separators = [question_keep.separators_keep([k], [p]) for k, p in zip(keep, parts, strict=True)]
    return OfGate(
        [faithful(outcome) for outcome in sampled],
        deviations,
        top={name: grouped_interval(of, passages) for name, of in top.items()},
        by_certainty=thirds(top, answers.probabilities, passages),
        masked=grouped_interval(masked.T, passages),
        lowest_minus_next=lowest_minus_next(masked, layers, passages),
        kept=question_keep.kept_curves(keep, parts, spans, answers.ends),
        left=what_is_left(study, keep, answers),
        gold_when_wrong=grouped_interval(np.array(gold_kept), [passages[n] for n in wrong])
        if wrong
        else None,
        question_minus_passage=question_keep.question_minus_passage(keep, parts, passages),
        question_minus_passage_top=question_keep.question_minus_passage(
            [text[upper] for text in keep], parts, passages
        ),
        separators=grouped_interval(np.array(separators), passages),
        tagged=None
        if tags is None
        else by_tag(values, tags_of_pieces(study, tags), parts, passages),
    )


def lowest_minus_next(
    masked: Float[np.ndarray, "L N"], layers: Sequence[str], passages: Sequence[str]
) -> Interval | None:
    """`OfGate.lowest_minus_next`. masked: the share of each question that each layer masks."""
    if not {*LOWEST, *NEXT} <= set(layers):
        return None
    lowest, following = (masked[np.isin(layers, names)].mean(axis=0) for names in (LOWEST, NEXT))
    return grouped_interval(lowest - following, passages)
