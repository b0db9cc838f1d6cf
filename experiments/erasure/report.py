"""The erasure experiment's tables: the paper's Table 2 beside ours, and the search's results."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffmask_jax.analysis.subsets import Overlap, overlap_with_first
from diffmask_jax.attribution.prefix_search import Optima
from diffmask_jax.runtime import markdown
from experiments.common.report import with_spread
from experiments.erasure.brute_force import Agreement
from experiments.erasure.claims import NAMES, PAPER, RULES, Runs, percent

DIGITS = "{:.2f}"  # of a percentage, as many as the paper's
SHOWN = ("precision", "recall", "f1", "optimality", "kept", "feasible")


def table(runs: Runs) -> str:
    """Table 2: the paper's numbers, ours by both rules, against both optima."""
    titles = ("precision", "recall", "F1", "optimality", "kept", "feasible", "F1, first optimum")
    rows = []
    for method, rules in runs.items():
        paper = PAPER[method]
        cells = [f"{paper[name]:.2f}" for name in ("precision", "recall", "f1", "optimality")]
        rows.append([f"{NAMES[method]}, the paper's", *cells, f"{paper['kept']:.2f}*", "–", "–"])
        for rule, seeds in rules.items():
            columns = (*SHOWN, "first.f1")
            cells = [
                with_spread([percent(scores, name) for scores in seeds], DIGITS) for name in columns
            ]
            rows.append([f"{NAMES[method]}, {RULES[rule]}", *cells])
    return markdown.table(("", *titles), rows)


def classes_table(runs: Runs) -> str:
    """Table 2 as averages over the two classes, kept and dropped (`subsets.both_classes`)."""
    against = {"both.": "nearest", "both.first.": "first"}
    rows = [
        [NAMES[method], RULES[rule]]
        + [
            with_spread([percent(scores, prefix + name) for scores in seeds], DIGITS)
            for prefix in against
            for name in Overlap._fields
        ]
        for method, rules in runs.items()
        for rule, seeds in rules.items()
    ]
    head = [f"{name}, {which}" for which in against.values() for name in Overlap._fields]
    return markdown.table(("", "sets", *head), rows)


def optima_table(optima: Sequence[Optima], lengths: np.ndarray) -> str:
    """The optima by length."""
    head = ("word pieces", "sentences", "mean size of the optimum", "share", "one optimum only")
    rows = []
    edges = [1, 8, 12, 16, 20, int(max(lengths.max(), 25))]
    for low, high in itertools.pairwise(edges):
        here = [o for o, n in zip(optima, lengths, strict=True) if low < n <= high]
        if here:
            share = np.mean([o.size / o.kept.shape[1] for o in here])
            alone = np.mean([len(o.kept) == 1 for o in here])
            rows.append(
                [
                    f"{low + 1}–{high}",
                    str(len(here)),
                    f"{np.mean([o.size for o in here]):.2f}",
                    f"{share:.1%}",
                    f"{alone:.1%}",
                    f"{sum(o.covered for o in here):,}",
                ]
            )
    return markdown.table((*head, "subsets compared"), rows)


def budget_table(rows: Sequence[dict[str, Any]]) -> str:
    """Scores after few and after many steps, with the settings that suit each method."""
    columns = ("steps", "rate", "multiplier_rate", "margin")
    cells = [
        [
            NAMES[row["method"]],
            *(f"{row[name]:g}" for name in columns),
            *(f"{row[name]:.2f}" for name in SHOWN),
            f"{row['seconds']:.0f}",
        ]
        for row in rows
    ]
    return markdown.table(("method", *columns, *SHOWN, "seconds"), cells)


def by_sentence(
    numbers: np.ndarray, lengths: np.ndarray, optima: Sequence[Optima], runs: Runs
) -> list[dict[str, Any]]:
    """The optima of each sentence, and the scores of the first seed's thresholded sets."""
    return [
        {
            "sentence": int(numbers[i]),
            "length": int(lengths[i]),
            "size": best.size,
            "optima": len(best.kept),
            "divergence": float(best.divergence[0]),
            "covered": best.covered,
            **{
                method: {name: round(float(x[i]), 4) for name, x in rules["threshold"][0].items()}
                for method, rules in runs.items()
            },
        }
        for i, best in enumerate(optima)
    ]


def body(
    setup: dict[str, Any],
    lengths: np.ndarray,
    optima: Sequence[Optima],
    agreement: Agreement,
    runs: Runs,
    budgets: Sequence[dict[str, Any]],
) -> str:
    """The report between its title and its claims."""
    overlaps = [np.mean([overlap_with_first(kept, o.kept).f1 for kept in o.kept]) for o in optima]
    alone = np.mean([len(o.kept) == 1 for o in optima])
    return "\n\n".join(
        [
            f"{setup['sentences']} sentences of at most {setup['longest']} word pieces, [CLS] and "
            f"[SEP] included; dropped ones are replaced by the {setup['baseline']} baseline. A set "
            f"is feasible within {setup['margin']:g} nats.",
            "Means over sentences, in percent; ± standard deviation over seeds. Precision, recall "
            'and F1 are against the nearest optimum (the largest F1), as the paper says "an '
            'optimal solution"; the last column is against the first, the one of the smallest '
            f"divergence. {alone:.1%} of the sentences have one optimum only, and an optimum drawn "
            f"at random has an F1 of {100 * np.mean(overlaps):.2f} against the first.",
            table(runs),
            "\\* The table's unnamed row, which the text calls comparable sparsity.",
            "Another reading of it: each score averaged over two classes, the pieces kept and the "
            "pieces dropped, which would explain why the paper's F1 lies below its precision and "
            "its recall. Against the nearest optimum and against the first:",
            classes_table(runs),
            "![sizes](sizes.png)",
            "### The optima",
            optima_table(optima, lengths),
            f"Brute force on {agreement.sentences} sentences: same size {agreement.same_size}, "
            f"same number of optima {agreement.same_number}, same first optimum "
            f"{agreement.same_set}.",
            "### Few steps and many (thresholded, first seed; each method at rates tuned for them)",
            budget_table(budgets),
        ]
    )
