"""The claims about the probes of one gate: the paper's numbers beside ours."""

from collections.abc import Sequence

import numpy as np

from diffmask_jax.analysis.bootstrap import Interval
from diffmask_jax.analysis.token_groups import Difference
from experiments.common.report import Claim, claim
from experiments.squad.intervals import in_words, picked
from experiments.squad.numbers import HALFWAY, UPPER, Faithful, OfGate, above

PAPER_MASKED, PAPER_KEPT = 0.95, 0.9
PAPER_GOLD_WHEN_WRONG, NEAR = 0.6, 0.1
PAPER_HALF = 0.5
SIGNIFICANT = 0.01
SEPARATORS_KEPT = 0.9


def ids_of(gate: str) -> dict[str, str]:
    """The ids of the claims about one gate's probes, by their subject."""
    of = "" if gate == "input" else f".{gate}"
    ids = {
        "masked": f"squad.{gate}.masked_top",
        "positions_kept": f"squad.{gate}.positions_kept_top",
        "spans_kept": f"squad.{gate}.spans_kept_top",
        "wrong": f"squad.gold_kept_when_wrong{of}",
        "question": f"squad.question_minus_passage.{gate}",
        "question_top": f"squad.question_minus_passage_top.{gate}",
        "tags": f"squad.pos.propn_punct_layers_minus_adp_conj{of}",
        "punctuation": f"squad.pos.punct_layers_minus_rest{of}",
        "stability": f"squad.stability.{gate}",
    }
    if gate == "hidden":
        ids |= {
            "late": "squad.hidden.masked_after_9_of_24",
            "lowest": "squad.hidden.masked_at_e_1_minus_2_3",
            "separators": "squad.hidden.sep_kept_but_last",
        }
    return ids


def gate_claims(gate: str, numbers: OfGate, layers: Sequence[str]) -> list[Claim]:
    """All claims about the probes of one gate."""
    ids, top, runs = ids_of(gate), above(layers, UPPER), len(numbers.sampled)
    claims = top_claims(gate, numbers, top)
    if numbers.deviations is not None:
        claims.append(stability_claim(gate, numbers.deviations, runs))
    if numbers.gold_when_wrong is not None:
        claims.append(wrong_claim(gate, numbers.gold_when_wrong, numbers.kept.wrong, runs))
    differences = {
        "question": (
            f"keep of question minus passage tokens, {gate}, mean over the layers",
            numbers.question_minus_passage,
        ),
        "question_top": (
            f"the same, {gate}, over the upper third of the layers",
            numbers.question_minus_passage_top,
        ),
    }
    if numbers.tagged is not None:
        differences |= {
            "tags": (
                "layers that keep proper nouns and punctuation minus adpositions and "
                f"conjunctions, {gate}",
                numbers.tagged.long_minus_soon,
            ),
            "punctuation": (
                f"layers that keep punctuation minus all other words, {gate}",
                numbers.tagged.punctuation_minus_rest,
            ),
        }
    claims += [difference_claim(ids[name], *one, runs) for name, one in differences.items()]
    return claims + (hidden_claims(numbers, layers) if gate == "hidden" else [])


def top_claims(gate: str, numbers: OfGate, top: np.ndarray) -> list[Claim]:
    """How much is masked in the upper third of the layers, and how many predictions stay."""
    claims = []
    for field, name, least in (
        ("masked", "tokens masked", PAPER_MASKED),
        ("positions_kept", "starts and ends kept", PAPER_KEPT),
        ("spans_kept", "whole spans kept", PAPER_KEPT),
    ):
        values = runs_over(numbers.sampled, field, top)
        says = (
            f"{name} by {gate} masking, mean over the upper third of the layers, over {least:g}; "
            f"{in_words(numbers.top[field])}"
        )
        paper = None if field == "spans_kept" else least
        holds = bool(np.mean(values) > least)
        claims.append(claim(ids_of(gate)[field], says, values, paper=paper, unit="", holds=holds))
    return claims


def runs_over(runs: Sequence[Faithful], field: str, layers: np.ndarray) -> list[float]:
    """The mean of a number over some layers, for every run."""
    return [float(np.mean(np.array(getattr(run, field))[layers])) for run in runs]


def stability_claim(gate: str, deviations: np.ndarray, runs: int) -> Claim:
    """How far the probes of several seeds are apart; the paper tells it of SST alone."""
    says = f"standard deviation of {gate} attributions over {runs} seeds, mean over the layers"
    id, value = ids_of(gate)["stability"], float(deviations.mean())
    return claim(id, says, [value], paper=None, unit="", holds=None, runs=runs)


def wrong_claim(gate: str, kept: Interval, questions: int, runs: int) -> Claim:
    """The claim that the probe keeps gold answers that the model misses."""
    return claim(
        ids_of(gate)["wrong"],
        f"keep of the gold answer's ends, {gate}, where the answer is wrong, mean over the upper "
        f"third of the layers: within {NEAR} of the paper's; {in_words(kept)}, of {questions}",
        [float(kept.mean)],
        paper=PAPER_GOLD_WHEN_WRONG,
        unit="",
        holds=bool(abs(kept.mean - PAPER_GOLD_WHEN_WRONG) <= NEAR),
        runs=runs,
    )


def difference_claim(id: str, says: str, difference: Difference, runs: int) -> Claim:
    """The claim that a mean difference over questions is above 0."""
    return claim(
        id,
        f"{says}: above 0, p < {SIGNIFICANT} (standard error {difference.standard_error:.2g}, p = "
        f"{difference.p_value:.2g}, {difference.sentences} questions, {difference.sources} "
        "passages)",
        [difference.mean],
        paper=None,
        unit="",
        holds=difference.mean > 0 and difference.p_value < SIGNIFICANT,
        runs=runs,
    )


def hidden_claims(numbers: OfGate, layers: Sequence[str]) -> list[Claim]:
    """The claims about hidden states half-way and far down, and about those of the separators."""
    ids, deep = ids_of("hidden"), np.flatnonzero(above(layers, HALFWAY))
    deepest = int(deep[np.argmin(numbers.masked.mean[deep])])
    masked = picked(numbers.masked, deepest)
    kept = numbers.separators
    at = int(np.argmin(kept.mean[:-1]))
    least = picked(kept, at)
    claims = [
        claim(
            ids["late"],
            "hidden states masked at the layer, of those deeper than 9 / 24 of the network, that "
            f"masks least, {layers[deepest]}: over {PAPER_HALF:g}; {in_words(masked)}",
            [run.masked[deepest] for run in numbers.sampled],
            paper=PAPER_HALF,
            unit="",
            holds=bool(masked.mean > PAPER_HALF),
        ),
        claim(
            ids["separators"],
            "mean keep of [SEP]'s states at the layer, but the last, that keeps them least, "
            f"{layers[at]}: over {SEPARATORS_KEPT} (the paper: always kept); {in_words(least)}",
            [float(least.mean)],
            paper=1.0,
            unit="",
            holds=bool(least.mean > SEPARATORS_KEPT),
            runs=len(numbers.sampled),
        ),
    ]
    if (apart := numbers.lowest_minus_next) is not None:
        says = "hidden states masked at E and 1 minus those at 2 and 3: above 0; "
        more = bool(apart.low > 0)
        claims.append(
            claim(
                ids["lowest"],
                says + in_words(apart),
                [float(apart.mean)],
                paper=None,
                unit="",
                holds=more,
                runs=len(numbers.sampled),
            )
        )
    return claims
