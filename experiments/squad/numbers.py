"""The numbers of the paper's section 3.3 and Appendix D.2, from several runs.

Questions about one passage are not independent: intervals draw them together, a standard error
counts passages, and a test has one difference a passage, the mean of its questions'.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffmask_jax.analysis import question_keep, token_groups, top_tokens
from diffmask_jax.analysis.answer_nouns import NounShare, noun_share
from diffmask_jax.analysis.bootstrap import Interval, grouped_interval
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.question_keep import KeptCurves
from diffmask_jax.analysis.token_groups import Difference, Group
from diffmask_jax.tasks import squad_scores
from diffmask_jax.tasks.question_tags import UNIVERSAL, QuestionTags, piece_tags
from diffmask_jax.tasks.scoring import scored_texts
from experiments.common.measuring import PerText
from experiments.squad.stages import Answers, Study

UPPER = 2 / 3
"""The upper third of a network lies above this share of its depth."""

HALFWAY = 9 / 24
"""The depth of the paper's layer 9 of 24."""

LONG_KEPT = {"PROPN", "PUNCT"}
SOON_DROPPED = {"ADP", "CCONJ", "SCONJ"}
PUNCTUATION = {"PUNCT"}
LOWEST, NEXT = ("E", "1"), ("2", "3")
"""The states of which the paper says that the first are dropped more than the second."""

TOP = 10
"""The number of tokens of a question and its passage that a method points to most."""

TEXTS = {"question": (0,), "passage": (1,), "both": (-1, 0, 1)}


class Faithful(NamedTuple):
    """Faithfulness of a run's gates, by layer: shares, and nats."""

    masked: list[float]
    divergence: list[float]
    positions_kept: list[float]
    spans_kept: list[float]


class Tagged(NamedTuple):
    """Figure 14: Σ keep over layers by part of speech.

    panels: the question's, the passage's and both texts' tokens, the longest kept first; special
        tokens are only in the last
    long_minus_soon: proper nouns and punctuation minus adpositions and conjunctions
    punctuation_minus_rest: punctuation minus all other words
    """

    panels: dict[str, list[Group]]
    long_minus_soon: Difference
    punctuation_minus_rest: Difference


class OfGate(NamedTuple):
    """The numbers of one gate; keep probabilities are averaged over its runs.

    sampled: faithfulness with sampled gates, for each run
    deviations: the standard deviation of each keep probability over the runs, by layer, averaged
        over tokens; None for one run
    top: its means over the upper third of the layers, by the name of the number
    masked: its share masked, by layer
    lowest_minus_next: its share masked at `LOWEST` minus that at `NEXT`; None without such states
    kept: Figure 7's curves
    gold_when_wrong: the dashed one of these, mean over the upper third; None if none is wrong
    question_minus_passage, question_minus_passage_top: over all layers, and over the upper third
    separators: mean keep probability of both [SEP], by layer
    """

    sampled: list[Faithful]
    deviations: Float[np.ndarray, " L"] | None
    top: dict[str, Interval]
    masked: Interval
    lowest_minus_next: Interval | None
    kept: KeptCurves
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


class Figure2(NamedTuple):
    """`TopShares` of the ten top tokens, means over questions with their intervals.

    shares: for each method
    chance: for all tokens
    over_chance: each method's minus those of all tokens, paired by question
    diffmask_over: DiffMask's minus each method's, paired by question; empty without an input probe
    """

    shares: dict[str, Interval]
    chance: Interval
    over_chance: dict[str, Interval]
    diffmask_over: dict[str, Interval]


def by_question(outcome: Outcome) -> dict[str, Float[np.ndarray, "L N"]]:
    """The fields of `Faithful` for each question; a span stays if its start and its end do."""
    spans = (outcome.prediction == outcome.original).all(axis=-1).astype(float)
    found = (outcome.masked, outcome.divergence, outcome.agreement, spans)
    return dict(zip(Faithful._fields, map(np.asarray, found), strict=True))


def faithful(outcome: Outcome) -> Faithful:
    """The means over questions."""
    return Faithful(*(of.mean(axis=1).tolist() for of in by_question(outcome).values()))


def over_layers(
    outcomes: Sequence[Outcome], chosen: Bool[np.ndarray, " L"], passages: Sequence[str]
) -> dict[str, Interval]:
    """Means over some layers, runs and questions, with their intervals over passages."""
    runs = [by_question(outcome) for outcome in outcomes]
    return {
        name: grouped_interval(
            np.mean([run[name][chosen].mean(axis=0) for run in runs], axis=0), passages
        )
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
        top=over_layers(sampled, upper, passages),
        masked=grouped_interval(masked.T, passages),
        lowest_minus_next=lowest_minus_next(masked, layers, passages),
        kept=question_keep.kept_curves(keep, parts, spans, answers.ends),
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


def tags_of_pieces(study: Study, tags: Sequence[QuestionTags]) -> list[tuple[str, ...]]:
    """The part of speech of every piece; the separators are "[SEP] 1" and "[SEP] 2"."""
    return [
        tuple(_numbered(piece_tags(encoded, tagged), encoded.parts < 0))
        for encoded, tagged in zip(study.data.encoded, tags, strict=True)
    ]


def _numbered(names: Sequence[str], special: Bool[np.ndarray, " T"]) -> Iterator[str]:
    """The names, with numbers for special tokens that occur more than once."""
    total = Counter(name for name, is_special in zip(names, special, strict=True) if is_special)
    seen: Counter[str] = Counter()
    for name, is_special in zip(names, special, strict=True):
        seen[name] += bool(is_special)
        yield f"{name} {seen[name]}" if is_special and total[name] > 1 else name


def by_tag(
    values: Sequence[Float[np.ndarray, " _"]],
    pieces: Sequence[tuple[str, ...]],
    parts: Sequence[np.ndarray],
    passages: Sequence[str],
) -> Tagged:
    """Figure 14. values: Σ keep over layers of every piece; pieces: their parts of speech."""
    panels = {}
    for text, wanted in TEXTS.items():
        chosen = [np.isin(own, wanted) for own in parts]
        groups = token_groups.by_group(
            [value[own] for value, own in zip(values, chosen, strict=True)],
            [
                [name for name, is_own in zip(names, own, strict=True) if is_own]
                for names, own in zip(pieces, chosen, strict=True)
            ],
            passages,
        )
        panels[text] = sorted(groups.values(), key=lambda group: -group.mean)
    compare = functools.partial(token_groups.difference, values, pieces, passages)
    return Tagged(
        panels,
        long_minus_soon=compare(high=LONG_KEPT, low=SOON_DROPPED),
        punctuation_minus_rest=compare(high=PUNCTUATION, low=UNIVERSAL - PUNCTUATION),
    )


def nouns(study: Study, tags: Sequence[QuestionTags]) -> NounShare:
    """The share of nouns in the gold answers."""
    return noun_share(study.questions, tags)


def figure2(
    study: Study, answers: Answers, found: dict[str, list[Float[np.ndarray, " _"]]]
) -> Figure2:
    """Where each method's top tokens are. found: attributions by method, ours as "diffmask"."""
    pairs = list(zip(study.parts, map(tuple, answers.spans.tolist()), strict=True))
    chance = np.array([top_tokens.shares_by_chance(*pair) for pair in pairs])
    shares = {
        name: np.array(
            [
                top_tokens.top_shares(attribution, parts, span, TOP)
                for attribution, (parts, span) in zip(attributions, pairs, strict=True)
            ]
        )
        for name, attributions in found.items()
    }
    interval = functools.partial(grouped_interval, groups=study.passages)
    ours = shares.get("diffmask")
    others = {} if ours is None else {n: ours - of for n, of in shares.items() if n != "diffmask"}
    return Figure2(
        {name: interval(of) for name, of in shares.items()},
        interval(chance),
        {name: interval(of - chance) for name, of in shares.items()},
        {name: interval(apart) for name, apart in others.items()},
    )
