"""The erasure experiment's claims: the paper's Table 2 beside ours, and what our search proves."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from diffmask_jax.attribution.prefix_search import Optima
from experiments.common.report import Claim, claim
from experiments.erasure.brute_force import LONGEST, Agreement
from experiments.erasure.learning import SAMPLES, Columns

PAPER = {
    "diffmask": {
        "precision": 81.26,
        "recall": 85.89,
        "f1": 80.75,
        "optimality": 32.67,
        "kept": 30.58,
    },
    "reinforce": {
        "precision": 74.69,
        "recall": 80.82,
        "f1": 73.57,
        "optimality": 8.83,
        "kept": 33.13,
    },
}
"""The paper's Table 2, in percent."""

NAMES = {"diffmask": "DiffMask", "reinforce": "REINFORCE"}
RULES = {
    "threshold": "expected gate over ½",
    "best": f"smallest feasible of that and {SAMPLES} samples",
}
LEAST_LEAD = 7.0  # points of F1 by which the paper's DiffMask is ahead of its REINFORCE
MEANINGS = {
    "precision": "precision against the nearest optimum",
    "recall": "recall against the nearest optimum",
    "f1": "F1 against the nearest optimum",
    "optimality": "sentences whose set is feasible and as small as the optimum",
    "kept": "share of word pieces kept",
    "feasible": "sentences whose set is feasible",
    "first.precision": "precision against the first optimum",
    "first.recall": "recall against the first optimum",
    "first.f1": "F1 against the first optimum",
}

Runs = dict[str, dict[str, list[Columns]]]
"""Scores by method, by rule, of every seed."""


def percent(columns: Columns, name: str) -> float:
    """The mean over sentences."""
    return 100 * float(np.mean(columns[name]))


def make_claims(runs: Runs) -> list[Claim]:
    """Table 2 by both rules; DiffMask's scores are compared with the paper's. REINFORCE's, and
    shares of which neither more nor less is better, are given beside the paper's."""
    return [*_score_claims(runs), *(_lead_claim(runs, rule) for rule in RULES)]


def _score_claims(runs: Runs) -> Iterator[Claim]:
    for method, rules in runs.items():
        for rule, seeds in rules.items():
            place = f"table2.{method}" if rule == "threshold" else f"table2.{method}.{rule}"
            for name, meaning in MEANINGS.items():
                values = [percent(columns, name) for columns in seeds]
                paper = PAPER[method].get(name.removeprefix("first."))
                compared = method == "diffmask" and paper is not None and name != "kept"
                yield claim(
                    f"{place}.{name}",
                    f"{NAMES[method]}, {RULES[rule]}: {meaning}",
                    values,
                    paper=paper,
                    unit="%",
                    holds=float(np.mean(values)) >= paper if compared and paper else None,
                )


def _lead_claim(runs: Runs, rule: str) -> Claim:
    ours, theirs = ([percent(columns, "f1") for columns in runs[method][rule]] for method in NAMES)
    lead = np.subtract(ours, theirs).tolist()
    return claim(
        "table2.lead" if rule == "threshold" else f"table2.lead.{rule}",
        f"{RULES[rule]}: F1 of DiffMask over REINFORCE's, at least {LEAST_LEAD:g}",
        lead,
        paper=PAPER["diffmask"]["f1"] - PAPER["reinforce"]["f1"],
        unit="points",
        holds=float(np.mean(lead)) >= LEAST_LEAD,
    )


def search_claims(optima: Sequence[Optima], runs: Runs, agreement: Agreement) -> list[Claim]:
    """The evidence that the search was exhaustive."""
    certified = [
        best.covered == sum(math.comb(best.kept.shape[1], k) for k in range(best.size + 1))
        for best in optima
    ]
    sizes = np.array([best.size for best in optima])
    columns = [scores for rules in runs.values() for seeds in rules.values() for scores in seeds]
    smaller = sum(int((c["feasible"] & (c["size"] < sizes)).sum()) for c in columns)
    again = agreement.sentences
    return [
        claim(
            "table2.certificate",
            "sentences whose every subset up to the optimum was looked at",
            [100 * float(np.mean(certified))],
            paper=None,
            unit="%",
            holds=all(certified),
        ),
        claim(
            "table2.brute_force",
            f"size, number and first of the optima the same by brute force, {again} sentences, "
            f"the shortest of at most {LONGEST} word pieces",
            [100 * agreement.same / again if again else math.nan],
            paper=None,
            unit="%",
            holds=agreement.same == again if again else None,
        ),
        claim(
            "table2.smaller_than_optimum",
            "learned sets that are feasible and smaller",
            [smaller],
            paper=None,
            unit="sets",
            holds=smaller == 0,
        ),
    ]


def other_claims(accuracy: float, search: float, learning: Sequence[float]) -> list[Claim]:
    """The classifier's accuracy, and the times of search and learning."""
    minutes = [seconds / 60 for seconds in learning]
    return [
        claim(
            "table2.accuracy",
            "dev accuracy of the GRU, at least 37",
            [100 * accuracy],
            paper=None,
            unit="%",
            holds=accuracy >= 0.37,
        ),
        claim(
            "table2.search_minutes",
            "exact search of all sentences, at most 60",
            [search / 60],
            paper=None,
            unit="min",
            holds=search <= 3600,
        ),
        claim(
            "table2.diffmask_minutes",
            "per-example DiffMask for all sentences, at most 10",
            minutes,
            paper=None,
            unit="min",
            holds=max(minutes) <= 10,
        ),
    ]
