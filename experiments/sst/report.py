"""The SST experiment's claims and tables: the paper's numbers beside ours."""

from collections.abc import Sequence

import numpy as np

from diffmask_jax.analysis.bootstrap import Change
from diffmask_jax.analysis.token_groups import Difference
from diffmask_jax.runtime import markdown
from experiments.common.report import LAST_CALL, Claim, claim
from experiments.sst.numbers import Flips, Numbers

# F1 in points, masked as a share: the paper's BERT-base. Its F1 is very probably the mean over
# batches of 64 that the authors' code computes, and is compared with that.
PAPER_F1 = 37.9
PAPER_MASKED_F1 = {"input": 38.3, "hidden": 38.9}
PAPER_MASKED = {"input": 0.463, "hidden": 0.676}
PAPER_STABILITY = {"input": 0.05, "hidden": 0.03}
PAPER_CLS = {"diffmask": 0.99, "schulz": 0.71}
LARGEST_LOSS = 0.5  # points of F1
LARGEST_UNREAD = 0.05
REFERENCE_FORMING = 0.205  # by `experiments.convergence --gate input`, 528,640 examples
SIGNIFICANT = 0.01


def faithfulness_claims(
    gate: str, rows: Sequence[dict[str, float]], changes: dict[str, dict[str, Change]]
) -> list[Claim]:
    """F1 before and after masking, and the masked share. rows: means over layers, one per run."""
    share = [row["masked"] for row in rows]
    unharmed = all(_is_unharmed(changes[split]["macro_f1"]) for split in ("dev", "test"))
    enough = bool(np.mean(share) >= PAPER_MASKED[gate]) and unharmed
    claims = [
        claim(
            f"sst.{gate}.masked",
            f"share masked, at least {PAPER_MASKED[gate]}, while macro-F1 changes by no less than "
            f"−{LARGEST_LOSS} points and by an interval that reaches 0, dev and test",
            share,
            paper=PAPER_MASKED[gate],
            unit="",
            holds=enough,
        )
    ]
    for split, scores in changes.items():
        for name, change in scores.items():
            claims.append(_change_claim(gate, split, name, change, len(rows)))
    return claims


def _change_claim(gate: str, split: str, name: str, change: Change, runs: int) -> Claim:
    like_the_paper = (split, name) == ("dev", "macro_f1_per_batch")
    says = (
        f"change of {NAMES[name]} by {gate} masking, {split}: {100 * change.before:.1f} → "
        f"{100 * change.after:.1f}, 95% of resampled sentences {100 * change.low:+.1f} to "
        f"{100 * change.high:+.1f}; no less than −{LARGEST_LOSS}, and the interval reaches 0"
    )
    return claim(
        f"sst.{gate}.{name}.{split}",
        says,
        [100 * change.change],
        paper=PAPER_MASKED_F1[gate] - PAPER_F1 if like_the_paper else None,
        unit="points",
        holds=_is_unharmed(change),
        runs=runs,
    )


NAMES = {
    "macro_f1": "macro-F1",
    "macro_f1_per_batch": "macro-F1 within batches of 64, averaged (the authors' way)",
    "accuracy": "accuracy",
}


def told(change: Change) -> str:
    """A change of a score in points, and the interval of 95% of resampled sentences."""
    points = (100 * part for part in (change.change, change.low, change.high))
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(*points)


def _is_unharmed(change: Change) -> bool:
    return 100 * change.change >= -LARGEST_LOSS and change.may_be_no_loss


def stability_claim(gate: str, value: float, runs: int) -> Claim:
    """Standard deviation of attributions over seeds."""
    paper = PAPER_STABILITY[gate]
    says = f"standard deviation of {gate} attributions over {runs} seeds, no larger"
    return claim(
        f"sst.stability.{gate}",
        says,
        [value],
        paper=paper,
        unit="",
        holds=value <= paper,
        runs=runs,
    )


def settled_claims(numbers: Numbers) -> list[Claim]:
    """Whether the games end at their margins, and whether a decision can be seen to form."""
    return [
        *(
            claim(
                f"sst.{gate}.on_margin",
                f"share of the layers of a run of the {gate} probe whose divergence, over the last "
                "quarter of its training, is within 10% of the margin, or below it at λ ≈ 0: all",
                shares,
                paper=None,
                unit="",
                holds=bool(np.min(shares) == 1),
            )
            for gate, shares in numbers.on_margin.items()
        ),
        claim(
            "sst.hidden.unread",
            "mean keep probability of the last layer's states other than [CLS], which alone is "
            f"read, at most {LARGEST_UNREAD}",
            numbers.unread,
            paper=None,
            unit="",
            holds=bool(np.mean(numbers.unread) <= LARGEST_UNREAD),
        ),
        claim(
            "sst.input.forming",
            "share of the input masked at the last layer minus that at E, at least the "
            f"{REFERENCE_FORMING} of a probe that was trained seven times as long, and more than "
            "none in every run",
            numbers.forming,
            paper=None,
            unit="",
            holds=bool(
                np.mean(numbers.forming) >= REFERENCE_FORMING and np.min(numbers.forming) > 0
            ),
        ),
    ]


def cls_claims(
    place: str, suffix: str, diffmask: Sequence[float], schulz: dict[str, float]
) -> list[Claim]:
    """Whether [CLS]'s last state has the largest hidden attribution of a sentence."""
    mean = float(np.mean(diffmask))
    says = f"share of sentences in which [CLS]'s last state has the largest attribution of {place}"
    return [
        claim(
            f"sst.cls_last.diffmask{suffix}",
            f"{says}, at least {PAPER_CLS['diffmask']}",
            diffmask,
            paper=PAPER_CLS["diffmask"],
            unit="",
            holds=mean >= PAPER_CLS["diffmask"],
        ),
        *(
            claim(
                f"sst.cls_last.schulz{suffix}.{labels}",
                f"{says}, Schulz et al. of the {labels} labels, below DiffMask",
                [share],
                paper=PAPER_CLS["schulz"] if labels == "gold" else None,
                unit="",
                holds=share < mean,
            )
            for labels, share in schulz.items()
        ),
    ]


def polar_claim(suffix: str, gate: str, polar: Difference, runs: int) -> Claim:
    """The statement of Figure 4, with its test."""
    says = (
        f"{gate} attributions: strongly positive and negative words are kept for more layers than "
        f"neutral ones; {polar.sentences} sentences, standard error {polar.standard_error:.2g}, "
        f"Wilcoxon p = {polar.p_value:.1e}"
    )
    holds = polar.mean > 0 and polar.p_value < SIGNIFICANT
    place = f"sst.fig4.polar_minus_neutral{suffix}"
    return claim(place, says, [polar.mean], paper=None, unit="layers", holds=holds, runs=runs)


def layer_table(layers: Sequence[str], tables: Sequence[list[dict[str, float]]]) -> str:
    """Faithfulness by layer, averaged over runs."""
    head = ("layer", "masked", "KL (nats)", "agreement", "macro-F1 original → masked")
    rows = []
    for layer, row in zip([*layers, "mean"], map(mean_row, zip(*tables, strict=True)), strict=True):
        before, after = 100 * row["macro_f1_original"], 100 * row["macro_f1_masked"]
        cells = f"{row['masked']:.1%}", f"{row['divergence']:.3f}", f"{row['agreement']:.1%}"
        rows.append([layer, *cells, f"{before:.1f} → {after:.1f}"])
    return markdown.table(head, rows)


def change_table(changes: dict[str, dict[str, Change]]) -> str:
    """Scores before and after masking with sampled gates, and the interval of the change."""
    head = ("split", "score", "before", "after", "change", "95% of resampled sentences")
    rows = [
        [
            split,
            NAMES[name],
            f"{100 * change.before:.1f}",
            f"{100 * change.after:.1f}",
            f"{100 * change.change:+.2f}",
            f"{100 * change.low:+.2f} to {100 * change.high:+.2f}",
        ]
        for split, scores in changes.items()
        for name, change in scores.items()
    ]
    return markdown.table(head, rows)


def mean_row(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The average of a layer's rows over runs."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def flip_table(flips: dict[str, list[Flips]]) -> str:
    """Predictions changed by masking, by the model's own certainty."""
    cells = [
        [rows[0].gap, str(rows[0].sentences), *(f"{row.flipped:.1%}" for row in rows)]
        for rows in zip(*flips.values(), strict=True)
    ]
    return markdown.table(("gap of the two largest probabilities", "sentences", *flips), cells)


def make_claims(numbers: Numbers, runs: int) -> list[Claim]:
    """All claims of the experiment."""
    claims: list[Claim] = []
    for gate, tables in numbers.sampled.items():
        rows = [table[-1] for table in tables]
        claims += faithfulness_claims(gate, rows, numbers.changes[gate])
    claims += [stability_claim(gate, value, runs) for gate, value in numbers.stability.items()]
    claims += settled_claims(numbers)
    claims += cls_claims("its layer", "", *numbers.cls_largest["last layer"])
    claims += cls_claims("all states", ".of_all_states", *numbers.cls_largest["all states"])
    claims.append(polar_claim("", "input", numbers.polar["input"], runs))
    claims.append(polar_claim(".hidden", "hidden", numbers.polar["hidden"], runs))
    return claims


def body(numbers: Numbers, layers: Sequence[str], tagged: bool) -> str:
    """The report between its title and its claims."""
    parts = [LAST_CALL]
    for gate in numbers.sampled:
        for name, tables in (("sampled", numbers.sampled), ("thresholded", numbers.thresholded)):
            parts += [f"### {gate} masking, {name} gates", layer_table(layers, tables[gate])]
        parts.append(change_table(numbers.changes[gate]))
        parts.append(f"![validation](training_{gate}.png)")
    parts += ["### Which predictions turn (sampled gates)", flip_table(numbers.flips)]
    parts.append("### [CLS]'s last state the largest hidden attribution")
    parts.append(
        "The paper does not say among which states, and divides each layer by its largest value. "
        "Where several states are surely kept (P > 0.9999), their order across layers says little. "
        "Schulz et al. at all states: evenly spaced sentences (--schulz-sentences)."
    )
    for place, (ours, schulz) in numbers.cls_largest.items():
        each = ", ".join(f"{share:.1%}" for share in ours)
        theirs = ", ".join(f"{share:.1%} ({of} labels)" for of, share in schulz.items())
        parts.append(f"Among {place}: DiffMask {each}; Schulz et al. {theirs}.")
    parts += ["### Figures", "![Figure 4](figure4.png)"]
    parts.append("![Figure 5](figure5.png)" if tagged else "Figure 5 needs tags: give --tags FILE.")
    parts.append("![Figure 6](figure6.png) (as a page: [figure6.html](figure6.html))")
    return "\n\n".join(parts)
