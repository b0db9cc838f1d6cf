"""The numbers of the paper's section 3.2, from several runs."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffmask_jax.analysis import bootstrap, faithfulness, token_groups
from diffmask_jax.analysis.bootstrap import Change, Confusions
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.token_groups import Difference, Group
from diffmask_jax.tasks.trees import LABELS
from experiments.common.measuring import PerText, deviations
from experiments.sst.stages import Measured, Study

POLAR, NEUTRAL = {LABELS[0], LABELS[4]}, {LABELS[2]}
SPECIAL = ("[CLS]", "[SEP]")
AUTHORS_BATCH = 64


class Flips(NamedTuple):
    """How often masking changes predictions of which the model was more or less certain."""

    gap: str
    sentences: int
    flipped: float


class Numbers(NamedTuple):
    """All numbers of the report, by gate ("input", "hidden").

    sampled, thresholded: `faithfulness.table` of each run
    changes: by split ("dev", "test") and score, the change by masking with sampled gates, averaged
        over runs and layers
    predictions: by split, the predictions after masking, for every run, layer and sentence
    on_margin: for every run, the share of the layers whose divergence is within 10% of the margin,
        or below it at λ ≈ 0
    unread: for every run of the hidden probe, the mean keep probability of the last layer's states
        other than [CLS]
    forming: for every run of the input probe, the masked share at the last layer minus that at E
    cls_largest: among all states and in the last layer, for every run, and for Schulz et al. by
        their kind of labels; the latter among all states only for some of the sentences
    """

    sampled: dict[str, list[list[dict[str, float]]]]
    thresholded: dict[str, list[list[dict[str, float]]]]
    changes: dict[str, dict[str, dict[str, Change]]]
    predictions: dict[str, dict[str, list[list[str]]]]
    flips: dict[str, list[Flips]]
    on_margin: dict[str, list[float]]
    unread: list[float]
    forming: list[float]
    stability: dict[str, float]
    polar: dict[str, Difference]
    cls_largest: dict[str, tuple[list[float], dict[str, float]]]


def numbers(
    study: Study,
    test: Study,
    by_gate: dict[str, Measured],
    schulz: dict[str, dict[str, PerText]],
    probabilities: Float[np.ndarray, "N C"],
) -> Numbers:
    """All numbers of the report."""
    places = {"all states": slice(None), "last layer": slice(-1, None)}

    def score(prediction: Any) -> dict[str, float]:
        return study.model.head.measure(prediction, study.labels)

    def tables(outcomes: Sequence[Outcome]) -> list[list[dict[str, float]]]:
        return [faithfulness.table(outcome, score) for outcome in outcomes]

    return Numbers(
        sampled={g: tables(m.sampled) for g, m in by_gate.items()},
        thresholded={g: tables(m.thresholded) for g, m in by_gate.items()},
        changes={
            g: {"dev": changes(study.labels, m.sampled), "test": changes(test.labels, m.test)}
            for g, m in by_gate.items()
        },
        predictions={
            g: {"dev": written(m.sampled), "test": written(m.test)} for g, m in by_gate.items()
        },
        flips={g: flips(probabilities, m.sampled) for g, m in by_gate.items()},
        on_margin={g: [on_margin(rows) for rows in m.settled()] for g, m in by_gate.items()},
        unread=[kept_of_unread(run) for run in by_gate["hidden"].log_keep],
        forming=[forming(study, outcome) for outcome in by_gate["input"].sampled],
        stability={g: float(deviations(m.log_keep).mean()) for g, m in by_gate.items()},
        polar={g: polar_minus_neutral(study, m.layers_kept()) for g, m in by_gate.items()},
        cls_largest={
            name: (
                [cls_largest(run, where) for run in by_gate["hidden"].log_keep],
                {labels: cls_largest(texts, slice(None)) for labels, texts in schulz[name].items()},
            )
            for name, where in places.items()
        },
    )


def as_json(numbers: Numbers) -> dict[str, Any]:
    """All numbers as JSON types."""
    return numbers._asdict() | {
        "polar": {gate: difference._asdict() for gate, difference in numbers.polar.items()},
        "changes": {gate: changes_as_json(splits) for gate, splits in numbers.changes.items()},
        "flips": {gate: [row._asdict() for row in rows] for gate, rows in numbers.flips.items()},
    }


def changes_as_json(splits: dict[str, dict[str, Change]]) -> dict[str, Any]:
    """The changes of every split and score as JSON types."""
    return {
        split: {name: change._asdict() for name, change in scores.items()}
        for split, scores in splits.items()
    }


def changes(labels: np.ndarray, outcomes: Sequence[Outcome]) -> dict[str, Change]:
    """Macro-F1 over the split and as the authors compute it, within batches of 64 in the order of
    the file, over the classes up to the highest of a batch; and accuracy."""
    batches = np.split(np.arange(len(labels)), range(AUTHORS_BATCH, len(labels), AUTHORS_BATCH))
    return {
        "macro_f1": change(bootstrap.macro_f1, labels, outcomes),
        "macro_f1_per_batch": change(bootstrap.macro_f1_to_highest, labels, outcomes, batches),
        "accuracy": change(bootstrap.accuracy, labels, outcomes),
    }


def change(
    score: Callable[[Confusions], Float[np.ndarray, " R"]],
    labels: np.ndarray,
    outcomes: Sequence[Outcome],
    groups: Sequence[Int[np.ndarray, " _"]] | None = None,
) -> Change:
    """The change of a score by masking, averaged over runs and layers, sentences resampled."""
    masked = np.concatenate([outcome.prediction for outcome in outcomes])
    return bootstrap.change(score, outcomes[0].original, masked, labels, len(LABELS), groups)


def written(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Predictions as text, for every run and layer."""
    return [[digits(layer) for layer in outcome.prediction] for outcome in outcomes]


def digits(classes: np.ndarray) -> str:
    """The class of every sentence, as one digit each."""
    return "".join(map(str, classes))


def on_margin(rows: Sequence[dict[str, Any]]) -> float:
    """Share of the layers of a run that end on their margin; NaN if unknown."""
    return float(np.mean([row["on_margin"] for row in rows])) if rows else math.nan


def kept_of_unread(log_keep: PerText) -> float:
    """Mean P(z ≠ 0) of the last layer's states other than [CLS], the only one that is read."""
    return float(np.exp(np.concatenate([text[-1, 1:] for text in log_keep])).mean())


def forming(study: Study, outcome: Outcome) -> float:
    """The masked share of the input at the last layer minus that at the embedding layer."""
    masked = dict(zip(study.model.network.layers, outcome.masked.mean(axis=1), strict=True))
    *_, last = masked.values()
    return float(last - masked["E"])


def cls_largest(attributions: PerText, layer: slice) -> float:
    """Share of sentences in which [CLS]'s last state has the largest attribution among some layers.

    A tie counts against it.
    """
    hits = []
    for attribution in attributions:
        last, others = attribution[-1, 0], attribution[layer].copy()
        others[-1, 0] = -np.inf
        hits.append(last > others.max())
    return float(np.mean(hits))


def by_label(study: Study, values: Sequence[Float[np.ndarray, " _"]]) -> list[Group]:
    """Figure 4: from very negative to very positive, then [CLS] and [SEP]."""
    groups = token_groups.by_group(values, label_groups(study))
    return [groups[name] for name in (*LABELS, *SPECIAL) if name in groups]


def polar_minus_neutral(study: Study, values: Sequence[Float[np.ndarray, " _"]]) -> Difference:
    """Are strongly positive and negative words kept longer than neutral ones?"""
    return token_groups.difference(values, label_groups(study), high=POLAR, low=NEUTRAL)


def label_groups(study: Study) -> list[tuple[str, ...]]:
    """The sentiment of each piece's word."""
    return [
        token_groups.piece_groups(
            encoded, sentence.words, [LABELS[label] for label in sentence.word_labels]
        )
        for encoded, sentence in zip(study.encoded, study.sentences, strict=True)
    ]


def by_tag(
    study: Study, values: Sequence[Float[np.ndarray, " _"]], tags: Sequence[tuple[str, ...]]
) -> list[Group]:
    """Figure 5: parts of speech, [CLS] and [SEP], the longest kept first."""
    pieces = [
        token_groups.piece_groups(encoded, sentence.words, tagged)
        for encoded, sentence, tagged in zip(study.encoded, study.sentences, tags, strict=True)
    ]
    groups = token_groups.by_group(values, pieces).values()
    return sorted(groups, key=lambda group: -group.mean)


def flips(probabilities: Float[np.ndarray, "N C"], outcomes: Sequence[Outcome]) -> list[Flips]:
    """The share of changed predictions, by the gap between the two largest class probabilities."""
    ordered = np.sort(probabilities, axis=1)
    gap = ordered[:, -1] - ordered[:, -2]
    turned = np.mean([o.prediction != o.original for o in outcomes], axis=(0, 1))
    edges = (0.0, 0.1, 0.2, 0.4, 1.0)
    return [
        Flips(f"{low:g}–{high:g}", int(here.sum()), float(turned[here].mean()))
        for low, high in itertools.pairwise(edges)
        if (here := (gap >= low) & ((gap < high) | (high == edges[-1]))).any()
    ]
