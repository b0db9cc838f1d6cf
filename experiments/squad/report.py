"""The SQuAD experiment's claims and tables: the paper's numbers beside ours."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffmask_jax.analysis.answer_nouns import NounShare
from diffmask_jax.analysis.token_groups import Difference
from diffmask_jax.analysis.top_tokens import TopShares
from diffmask_jax.runtime import markdown
from diffmask_jax.tasks.squad_scores import Scores
from experiments.common.report import Claim, claim
from experiments.squad.numbers import HALFWAY, TOP, UPPER, Faithful, OfGate, above

# The paper's BERT-large, fine-tuned with whole-word masking.
PAPER_F1, PAPER_EXACT_MATCH = 93, 87
AS_GOOD = 1.5
PAPER_MASKED, PAPER_KEPT = 0.95, 0.9
PAPER_GOLD_WHEN_WRONG, NEAR = 0.6, 0.1
PAPER_NOUNS = 0.84
PAPER_HALF = 0.5
SIGNIFICANT = 0.01
SEPARATORS_KEPT = 0.9


class Found(NamedTuple):
    """Everything that the report says.

    nouns, figure2: None where there are no tags, or no question was asked for
    """

    layers: tuple[str, ...]
    scores: Scores
    by_gate: dict[str, OfGate]
    nouns: NounShare | None
    figure2: dict[str, TopShares]


def make_claims(found: Found) -> list[Claim]:
    """Every claim of the experiment."""
    claims = model_claims(found.scores)
    top = above(found.layers, UPPER)
    for gate, numbers in found.by_gate.items():
        claims += top_claims(gate, numbers.sampled, top)
        claims.append(wrong_claim(gate, numbers, top))
        says = f"keep of question minus passage tokens, {gate}: above 0, p < {SIGNIFICANT}"
        id = f"squad.question_minus_passage.{gate}"
        claims.append(difference_claim(id, says, numbers.question_minus_passage))
        if numbers.tags_apart is not None:
            suffix = "" if gate == "input" else f".{gate}"
            id = f"squad.pos.propn_punct_layers_minus_adp_conj{suffix}"
            says = (
                f"layers that keep proper nouns and punctuation minus adpositions and "
                f"conjunctions, {gate}: above 0, p < {SIGNIFICANT}"
            )
            claims.append(difference_claim(id, says, numbers.tags_apart))
    if "hidden" in found.by_gate:
        claims += hidden_claims(found.by_gate["hidden"], found.layers)
    if found.nouns is not None:
        claims += noun_claims(found.nouns)
    for method, shares in found.figure2.items():
        if method != "chance":
            claims += figure2_claims(method, shares, found.figure2["chance"])
    return claims


def model_claims(scores: Scores) -> list[Claim]:
    """How well the model answers, which everything else is about, beside the paper's larger one."""
    measured = {"f1": (scores.f1, PAPER_F1), "exact_match": (scores.exact_match, PAPER_EXACT_MATCH)}
    return [
        claim(
            f"squad.model.{name}",
            f"{name}, dev: no less than {AS_GOOD} points below the paper's",
            [value],
            paper=paper,
            unit="points",
            holds=value >= paper - AS_GOOD,
        )
        for name, (value, paper) in measured.items()
    ]


def top_claims(gate: str, runs: Sequence[Faithful], top: np.ndarray) -> list[Claim]:
    """How much is masked in the upper third of the layers, and how many predictions stay."""
    claims = []
    for field, name, least in (
        ("masked", "tokens masked", PAPER_MASKED),
        ("positions_kept", "starts and ends kept", PAPER_KEPT),
        ("spans_kept", "whole spans kept", PAPER_KEPT),
    ):
        values = [float(np.mean(np.array(getattr(run, field))[top])) for run in runs]
        short = "masked_top" if field == "masked" else f"{field}_top"
        says = f"{name} by {gate} masking, mean over the upper third of the layers, over {least:g}"
        paper = None if field == "spans_kept" else least
        holds = bool(np.mean(values) > least)
        id = f"squad.{gate}.{short}"
        claims.append(claim(id, says, values, paper=paper, unit="", holds=holds))
    return claims


def wrong_claim(gate: str, numbers: OfGate, upper: np.ndarray) -> Claim:
    """Gold answers that the model missed, and the probe keeps."""
    value = float(np.mean(numbers.kept.gold_when_wrong[upper]))
    return claim(
        "squad.gold_kept_when_wrong" + ("" if gate == "input" else f".{gate}"),
        f"keep of the gold answer's ends, {gate}, where the answer is wrong, mean over the upper "
        f"third of the layers: within {NEAR} of the paper's ({numbers.kept.wrong} questions)",
        [value],
        paper=PAPER_GOLD_WHEN_WRONG,
        unit="",
        holds=abs(value - PAPER_GOLD_WHEN_WRONG) <= NEAR,
    )


def difference_claim(id: str, says: str, difference: Difference) -> Claim:
    """A mean difference over questions that is above 0."""
    return claim(
        id,
        f"{says} (p = {difference.p_value:.2g}, {difference.sentences} questions)",
        [difference.mean],
        paper=None,
        unit="",
        holds=difference.mean > 0 and difference.p_value < SIGNIFICANT,
    )


def hidden_claims(numbers: OfGate, layers: Sequence[str]) -> list[Claim]:
    """What becomes of hidden states half-way, and of the separators'."""
    late = above(layers, HALFWAY)
    masked = [float(np.mean(np.array(run.masked)[late])) for run in numbers.sampled]
    least = float(numbers.separators[:-1].min())
    return [
        claim(
            "squad.hidden.masked_after_9_of_24",
            "hidden states masked, mean over the layers deeper than 9 / 24 of the network",
            masked,
            paper=PAPER_HALF,
            unit="",
            holds=bool(np.mean(masked) > PAPER_HALF),
        ),
        claim(
            "squad.hidden.sep_kept_but_last",
            "mean keep of [SEP]'s states at the layer, but the last, that keeps them least: over "
            f"{SEPARATORS_KEPT} (the paper: always kept)",
            [least],
            paper=1.0,
            unit="",
            holds=least > SEPARATORS_KEPT,
        ),
    ]


def noun_claims(nouns: NounShare) -> list[Claim]:
    """Three readings of "count for 84% of the answers"."""
    readings = {
        "": (nouns.of_words, "of the words of gold answers, those that are nouns or proper nouns"),
        ".of_answers": (nouns.of_answers, "of the gold answers, those that hold one"),
        ".of_questions": (nouns.of_questions, "of the questions, those with an answer that does"),
    }
    return [
        claim(
            f"squad.answers_nouns{name}",
            f"{says}: within 0.02",
            [value],
            paper=PAPER_NOUNS,
            unit="",
            holds=abs(value - PAPER_NOUNS) <= 0.02,
        )
        for name, (value, says) in readings.items()
    ]


def figure2_claims(method: str, shares: TopShares, chance: TopShares) -> list[Claim]:
    """Where a method points, beside where pointing everywhere would."""
    return [
        claim(
            f"squad.fig2.{method}.{place}",
            f"of the {TOP} top tokens, those in the {place}: more than of all tokens, "
            f"{getattr(chance, place):.3f}",
            [getattr(shares, place)],
            paper=None,
            unit="",
            holds=getattr(shares, place) > getattr(chance, place),
        )
        for place in ("question", "answer")
    ]


def body(found: Found, left_out: Sequence[str], about: str) -> str:
    """What the report says between its title and its claims. left_out: lines, of questions."""
    parts = [about, *left_out]
    parts.append(
        "Times are those of the last call; what an earlier one had finished was not repeated."
    )
    for gate, numbers in found.by_gate.items():
        for kind, runs in (("sampled", numbers.sampled), ("thresholded", numbers.thresholded)):
            parts += [f"### {gate} masking, {kind} gates", layer_table(found.layers, runs)]
        parts += [f"### {gate}: what is kept", kept_table(found.layers, numbers)]
        parts.append(f"![validation](training_{gate}.png)")
        parts.append(f"![Figure 8, {gate}](figure8_{gate}.png)")
    if found.figure2:
        parts += ["### Figure 2, counted", figure2_table(found.figure2)]
        parts.append("![Figure 2](figure2.png)")
    parts += ["![Figure 7](figure7.png)", "![masked and kept](faithful.png)"]
    if all(numbers.tagged for numbers in found.by_gate.values()):
        parts += [f"![Figure 14, {gate}](figure14_{gate}.png)" for gate in found.by_gate]
    else:
        parts.append("Figure 14 needs tags: give --tags FILE.")
    return "\n\n".join(parts)


def layer_table(layers: Sequence[str], runs: Sequence[Faithful]) -> str:
    """A row a layer, means over the runs."""
    columns = [np.mean([getattr(run, field) for run in runs], axis=0) for field in Faithful._fields]
    rows = [
        [layer, f"{masked:.1%}", f"{nats:.3f}", f"{positions:.1%}", f"{spans:.1%}"]
        for layer, masked, nats, positions, spans in zip(layers, *columns, strict=True)
    ]
    return markdown.table(["layer", "masked", "KL (nats)", "positions kept", "spans kept"], rows)


def kept_table(layers: Sequence[str], numbers: OfGate) -> str:
    """Figure 7's curves, and [SEP]."""
    kept = numbers.kept
    curves = (kept.question, kept.passage, kept.gold, kept.gold_when_wrong, numbers.separators)
    rows = [
        [layer, *(f"{value:.3f}" for value in values)]
        for layer, *values in zip(layers, *curves, strict=True)
    ]
    head = ["layer", "question", "passage", "gold", f"gold, wrong ({kept.wrong})", "[SEP]"]
    return markdown.table(head, rows)


def figure2_table(figure2: dict[str, TopShares]) -> str:
    """A row a method."""
    rows = [[name, *(f"{share:.3f}" for share in shares)] for name, shares in figure2.items()]
    return markdown.table([f"top {TOP} tokens", *TopShares._fields], rows)
