"""A report on a run and some examples: survey them, read labels and tags, compare methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.analysis import faithfulness
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.evaluation import SPANS
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.explaining.report import Report, Subject, report_of, score_curves
from diffmask_jax.explaining.rivals import rivalry
from diffmask_jax.explaining.sources import sources_of
from diffmask_jax.explaining.survey import Survey, survey
from diffmask_jax.explaining.word_groups import Names, label_names, tags_of
from diffmask_jax.tasks.encoded_examples import EncodedExamples
from diffmask_jax.tasks.scoring import by_labels
from diffmask_jax.tasks.tags import read_tags
from diffmask_jax.tasks.task import Examples
from diffmask_jax.tasks.trees import Sentence
from diffmask_jax.training.assessment import layer_means
from diffmask_jax.training.keeping import assess_run


def report_on(
    explainer: Explainer,
    folder: Path,
    name: str,
    data: EncodedExamples,
    gold: np.ndarray | None,
    *,
    tags: Path | None = None,
    against: int = 0,
) -> tuple[Report, Survey]:
    """The report on a run's probe for a data set, and the survey that it is based on.

    folder: the run's folder
    name: the name of the data
    gold: its gold labels as `gold_labels` makes them; None if there are none
    tags: a file of parts of speech, as `read_tags` expects it
    against: the number of texts on which other methods are compared

    Raises: UserError if the tags do not match the texts.
    """
    model, examples, encoded = explainer.model, data.examples, data.encoded
    scoring = by_labels(model, gold)
    tagged = None if tags is None else _read_tags(tags, examples)
    texts = examples.texts
    sources = sources_of(model.head, texts)
    seen = survey(explainer, texts, encoded)
    *layers, _ = faithfulness.table(seen.replay, scoring.measure)
    means = layer_means(model.network.layers, layers)
    assessment = assess_run(explainer.config, folder, means)
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(against, len(texts))).astype(int))
    report = report_of(
        Subject(
            str(folder),
            Path(model.path).name,
            name,
            explainer.config.gate,
            explainer.config.margin,
            model.network.layers,
            SPANS[0] if model.head.spans else "agreement",
            sources.examples,
            sources.word,
        ),
        seen,
        examples.rows,
        sources.numbers,
        assessment,
        scores=score_curves(scoring.scores, layers),
        labelled=_labelled(explainer, seen, gold),
        tags=None if tagged is None else _tags(seen.explanations, encoded, tagged),
        rivalry=rivalry(explainer, [encoded[n] for n in chosen], sources.of(chosen.tolist()))
        if len(chosen)
        else None,
    )
    return report, seen


def _labelled(explainer: Explainer, seen: Survey, gold: Any) -> dict[str, Names]:
    """The groups of texts by prediction and by gold label, where these make groups."""
    kind, labels = explainer.model.head.problem_type, explainer.model.labels
    predicted = label_names(kind, labels, seen.replay.original)
    golden = None if gold is None else label_names(kind, labels, gold)
    named = {"predicted label": predicted, "gold label": golden}
    return {way: names for way, names in named.items() if names is not None}


def _read_tags(file: Path, examples: Examples) -> list[tuple[str, ...]]:
    if examples.second is not None:
        raise UserError("--tags is for single texts, not for pairs")
    words = (tuple(filter(None, text.split(" "))) for text in examples.first)
    return read_tags(file, [Sentence(each, (), 0) for each in words])


def _tags(
    explanations: Sequence[Explanation], encoded: Sequence[Encoded], tags: Sequence[Sequence[str]]
) -> list[list[str | None]]:
    return [tags_of(*each) for each in zip(explanations, encoded, tags, strict=True)]
