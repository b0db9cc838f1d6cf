"""The numbers of the paper's section 3.2, from the attributions of several runs."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis import faithfulness, token_groups
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.token_groups import Difference, Group
from diffmask_jax.tasks.trees import LABELS
from experiments.sst.stages import Measured, PerText, Study

POLAR, NEUTRAL = {LABELS[0], LABELS[4]}, {LABELS[2]}
SPECIAL = ("[CLS]", "[SEP]")


class Flips(NamedTuple):
    """How often masking turns a prediction, by how sure the model was of it."""

    gap: str
    sentences: int
    flipped: float


class Numbers(NamedTuple):
    """Everything that the report says, by gate ("input", "hidden").

    sampled, thresholded: the table of `faithfulness.table`, one a run
    cls_largest: among all states and in the last layer, of every run and of Schulz et al., the
        latter among all states for some of the sentences only
    """

    sampled: dict[str, list[list[dict[str, float]]]]
    thresholded: dict[str, list[list[dict[str, float]]]]
    flips: dict[str, list[Flips]]
    stability: dict[str, float]
    polar: dict[str, Difference]
    cls_largest: dict[str, tuple[list[float], float]]


def numbers(
    study: Study,
    by_gate: dict[str, Measured],
    schulz: dict[str, PerText],
    probabilities: Float[np.ndarray, "N C"],
) -> Numbers:
    """Everything that the report says."""
    scores = study.model.head.measure
    places = {"all states": slice(None), "last layer": slice(-1, None)}

    def tables(outcomes: Sequence[Outcome]) -> list[list[dict[str, float]]]:
        return [faithfulness.table(outcome, study.labels, scores) for outcome in outcomes]

    return Numbers(
        sampled={g: tables(m.sampled) for g, m in by_gate.items()},
        thresholded={g: tables(m.thresholded) for g, m in by_gate.items()},
        flips={g: flips(probabilities, m.sampled) for g, m in by_gate.items()},
        stability={g: stability(m.log_keep) for g, m in by_gate.items()},
        polar={g: polar_minus_neutral(study, m.layers_kept()) for g, m in by_gate.items()},
        cls_largest={
            name: (
                [cls_largest(run, where) for run in by_gate["hidden"].log_keep],
                cls_largest(schulz[name], slice(None)),
            )
            for name, where in places.items()
        },
    )


def stability(log_keep: Sequence[PerText]) -> float:
    """Standard deviation over the runs of each P(z ≠ 0), averaged over tokens and layers."""
    stacked = np.exp(np.stack([np.concatenate(run, axis=1) for run in log_keep]))
    return float(np.std(stacked, axis=0, ddof=1).mean())


def cls_largest(attributions: PerText, layer: slice) -> float:
    """Share of sentences whose largest attribution, among some layers, is [CLS]'s last state.

    Another state with the same attribution counts against it.
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
    """By the gap between the two largest class probabilities: the share of predictions turned."""
    ordered = np.sort(probabilities, axis=1)
    gap = ordered[:, -1] - ordered[:, -2]
    turned = np.mean([o.prediction != o.original for o in outcomes], axis=(0, 1))
    edges = (0.0, 0.1, 0.2, 0.4, 1.0)
    return [
        Flips(f"{low:g}–{high:g}", int(here.sum()), float(turned[here].mean()))
        for low, high in itertools.pairwise(edges)
        if (here := (gap >= low) & (gap < high)).any()
    ]
