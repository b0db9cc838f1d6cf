"""A probe on a data set, in numbers: layers, words, groups of words, changed predictions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.analysis.bootstrap import Interval, grouped_interval
from diffmask_jax.analysis.survival import Kept, let_go
from diffmask_jax.explaining import rivalry_table
from diffmask_jax.explaining.replayed import turned
from diffmask_jax.explaining.rivals import Rivalry
from diffmask_jax.explaining.survey import Survey
from diffmask_jax.explaining.word_groups import Names, families, kept_by, words_seen
from diffmask_jax.models.heads import Score
from diffmask_jax.runtime.json_files import jsonable
from diffmask_jax.runtime.markdown import table
from diffmask_jax.training.assessment import THRESHOLDED, Assessment, told

WORDS = 20  # the words listed that are kept longest, and as many that are dropped first
LEAST = 5  # the texts, or passages, in which such a word must occur
TURNS = 50  # the changed predictions listed


class Subject(NamedTuple):
    """The subject of a report: a run, its model and data, and its margin (nats) and layers.

    agreement: what the share of unchanged decisions is called
    examples, drawn: what the examples are called, and what resamples are drawn of: those of
        `Sources.examples` and `Sources.word`
    """

    run: str
    model: str
    data: str
    gate: str
    margin: float
    layers: tuple[str, ...]
    agreement: str
    examples: str
    drawn: str


class ScoreCurve(NamedTuple):
    """A score against gold labels: on whole texts, and masked at every layer."""

    score: Score
    original: float
    masked: tuple[float, ...]


class Turn(NamedTuple):
    """A text whose prediction changes at some layers, and the answer at the worst of them.

    row: the name of the text, such as its line in a file
    text: the text itself
    divergence: the largest at these layers, nats
    """

    row: str
    text: str
    layers: tuple[str, ...]
    worst: str
    divergence: float
    before: str
    after: str


class Report(NamedTuple):
    """All numbers of a report on N texts at L layers, with gates thresholded at ½.

    masked, divergence (nats), agreement: means over texts with their intervals, (L,) each
    longest, first: the words that are kept longest, and those that are dropped first
    groups: how long the words of each group are kept, for every way of grouping
    gone: how many words each layer drops for good, and last how many stay to the end, (L+1,)
    turned: the number of texts whose prediction changes
    turns: the worst of them
    rivalry: the probe against other methods, if they were compared
    """

    subject: Subject
    texts: int
    assessment: Assessment
    masked: Interval
    divergence: Interval
    agreement: Interval
    scores: tuple[ScoreCurve, ...]
    longest: tuple[Kept, ...]
    first: tuple[Kept, ...]
    groups: dict[str, list[Kept]]
    gone: tuple[int, ...]
    turned: int
    turns: tuple[Turn, ...]
    rivalry: Rivalry | None


def report_of(
    subject: Subject,
    survey: Survey,
    rows: Sequence[str],
    sources: Sequence[int],
    assessment: Assessment,
    *,
    scores: Sequence[ScoreCurve] = (),
    labelled: dict[str, Names] | None = None,
    tags: Sequence[Sequence[str | None]] | None = None,
    rivalry: Rivalry | None = None,
) -> Report:
    """The numbers of a surveyed data set.

    rows: the name of each text, such as its line in a file
    sources: for each text a number; those of one number are drawn together in resamples
    scores: as `score_curves` makes them, if there are gold labels
    labelled, tags: as in `word_groups.families`
    """
    words = kept_by(words_seen(survey.explanations), sources, lambda word: [word.spelt], LEAST)
    each = min(WORDS, -(-len(words) // 2))
    replay = survey.replay
    agreement = np.asarray(replay.agreement).T
    changed = [
        np.flatnonzero(turned(explanation.answer, answers, agrees))
        for explanation, answers, agrees in zip(
            survey.explanations, survey.answers, agreement, strict=True
        )
    ]
    turns = [
        _turn(subject, survey, rows[number], number, layers)
        for number, layers in enumerate(changed)
        if len(layers)
    ]
    gone = np.zeros(len(subject.layers) + 1, int)
    for explanation in survey.explanations:
        np.add.at(gone, let_go(explanation.word_keep), 1)
    return Report(
        subject=subject,
        texts=len(rows),
        assessment=assessment,
        masked=_mean(replay.masked, sources),
        divergence=_mean(replay.divergence, sources),
        agreement=_mean(replay.agreement, sources),
        scores=tuple(scores),
        longest=tuple(words[:each]),
        first=tuple(words[::-1][: min(WORDS, len(words) - each)]),  # no word is in both
        groups=families(survey.explanations, sources, labelled or {}, tags),
        gone=tuple(gone.tolist()),
        turned=len(turns),
        turns=tuple(sorted(turns, key=lambda turn: -turn.divergence)[:TURNS]),
        rivalry=rivalry,
    )


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON types; undefined values are None."""
    numbers: dict[str, Any] = jsonable(report._replace(rivalry=None))
    if report.rivalry is not None:
        numbers["rivalry"] = rivalry_table.as_json(report.rivalry)
    return numbers


def as_text(report: Report) -> str:
    """The verdict and the table of layers, for a terminal."""
    subject = report.subject
    head = ["layer", "masked", "KL (nats)", subject.agreement]
    head += [curve.score.title for curve in report.scores]
    rows = [
        [
            layer,
            f"{report.masked.mean[n]:.1%}",
            f"{report.divergence.mean[n]:z.3f}",
            f"{report.agreement.mean[n]:.1%}",
            *(curve.score.shown(curve.masked[n]) for curve in report.scores),
        ]
        for n, layer in enumerate(subject.layers)
    ]
    return "\n".join(
        [
            f"{subject.run}: {subject.gate} probe on {report.texts} {subject.examples} "
            f"({subject.data})",
            *told(report.assessment, THRESHOLDED),
            "",
            table(head, rows),
        ]
    )


def _mean(values: Float[Array | np.ndarray, "L N"], sources: Sequence[int]) -> Interval:
    return grouped_interval(np.asarray(values, np.float64).T, sources)


def _turn(
    subject: Subject, survey: Survey, row: str, number: int, layers: Int[np.ndarray, " _"]
) -> Turn:
    replay = survey.replay
    worst = layers[replay.divergence[layers, number].argmax()]
    explanation = survey.explanations[number]
    return Turn(
        row=row,
        text=" / ".join(explanation.texts),
        layers=tuple(subject.layers[layer] for layer in layers),
        worst=subject.layers[worst],
        divergence=float(replay.divergence[worst, number]),
        before=explanation.answer.line,
        after=survey.answers[number][worst].line,
    )


def score_curves(
    scores: Sequence[Score], layers: Sequence[Mapping[str, float]]
) -> tuple[ScoreCurve, ...]:
    """Each score before and after masking, layer by layer.

    layers: `faithfulness.table`, made with the scores' measure, without its last row
    """
    return tuple(
        ScoreCurve(
            score,
            layers[0][f"{score.name}_original"],
            tuple(row[f"{score.name}_masked"] for row in layers),
        )
        for score in scores
    )
