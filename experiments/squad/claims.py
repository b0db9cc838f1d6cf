"""The SQuAD experiment's claims: the paper's numbers beside ours."""

from collections.abc import Mapping
from typing import NamedTuple

from diffmask_jax.analysis.answer_nouns import NounShare
from diffmask_jax.analysis.bootstrap import Interval
from diffmask_jax.analysis.top_tokens import TopShares
from experiments.common.report import Claim, claim
from experiments.squad.gate_claims import gate_claims
from experiments.squad.intervals import in_words, picked
from experiments.squad.methods import Counted
from experiments.squad.numbers import OfGate
from experiments.squad.pointing import TOP, Figure2

# The paper's BERT-large, fine-tuned with whole-word masking.
PAPER_F1, PAPER_EXACT_MATCH = 93, 87
AS_GOOD = 1.5
PAPER_NOUNS = 0.84


class Found(NamedTuple):
    """All numbers of the report.

    by_gate: for the gates that have a probe
    nouns, figure2: None without tags, or with --methods-on 0
    questions: how many are measured
    """

    layers: tuple[str, ...]
    scores: dict[str, Interval]
    by_gate: dict[str, OfGate]
    nouns: NounShare | None
    figure2: Figure2 | None
    questions: int


def make_claims(found: Found, methods: Mapping[str, Counted]) -> list[Claim]:
    """All claims of the experiment that were measured. methods: those counted for Figure 2"""
    claims = model_claims(found.scores, found.questions)
    for gate, numbers in found.by_gate.items():
        claims += gate_claims(gate, numbers, found.layers)
    if found.nouns is not None:
        claims += noun_claims(found.nouns)
    if found.figure2 is not None:
        runs = len(found.by_gate["input"].sampled) if "input" in found.by_gate else 0
        claims += figure2_claims(found.figure2, methods, runs)
    return claims


def model_claims(scores: Mapping[str, Interval], questions: int) -> list[Claim]:
    """The model's own scores on some questions, beside those of the paper's larger model on all."""
    papers = {"f1": PAPER_F1, "exact_match": PAPER_EXACT_MATCH}
    return [
        claim(
            f"squad.model.{name}",
            f"{name}, the {questions} dev questions measured: no less than {AS_GOOD} points below "
            f"the paper's; {in_words(measured)}",
            [float(measured.mean)],
            paper=papers[name],
            unit="points",
            holds=bool(measured.mean >= papers[name] - AS_GOOD),
        )
        for name, measured in scores.items()
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


def figure2_claims(found: Figure2, methods: Mapping[str, Counted], runs: int) -> list[Claim]:
    """Where methods point, compared with all tokens; and where DiffMask points more than another
    method, question by question. runs: whose keep probabilities are averaged for DiffMask"""
    few, own = f"of the {TOP} top tokens, those", "of as many top tokens as it has, those"
    shares = {
        "question": f"{few} in the question",
        "answer": f"{few} in the answer",
        "question_precision": f"{own} of the question",
        "answer_precision": f"{own} of the answer",
    }
    claims = []
    for place, words in shares.items():
        at = TopShares._fields.index(place)
        for method, apart in found.over_chance.items():
            here = picked(apart, at)
            says = (
                f"{words}, over their share of all tokens, {found.chance.mean[at]:.3f}; the "
                f"difference: {in_words(here)}"
            )
            share, holds = float(found.shares[method].mean[at]), bool(here.low > 0)
            id = f"squad.fig2.{method}.{place}"
            of = runs if method == "diffmask" else None
            claims.append(claim(id, says, [share], paper=None, unit="", holds=holds, runs=of))
        for method, apart in found.diffmask_over.items():
            here = picked(apart, at)
            # The paper's DiffMask reads the question; the others point to the answer.
            if place.startswith("question"):
                side, lies = "above", bool(here.low > 0)
            else:
                side, lies = "below", bool(here.high < 0)
            says = f"{words}, by DiffMask minus by {method} ({methods[method].told}): {side} 0; "
            says, mean = says + in_words(here), float(here.mean)
            id = f"squad.fig2.diffmask_minus_{method}.{place}"
            claims.append(claim(id, says, [mean], paper=None, unit="", holds=lies, runs=runs))
    return claims
