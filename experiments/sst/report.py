"""The SST experiment's claims and tables: the paper's numbers beside ours."""

from collections.abc import Sequence

import numpy as np

from diffmask_jax.analysis.token_groups import Difference
from diffmask_jax.runtime import markdown
from experiments.common.report import Claim, claim
from experiments.sst.numbers import Flips, Numbers

# F1 in points, masked as a share: the paper's BERT-base, and the bar for a small model.
PAPER_F1 = 37.9
PAPER_MASKED_F1 = {"input": 38.3, "hidden": 38.9}
PAPER_MASKED = {"input": 0.463, "hidden": 0.676}
LEAST_MASKED = {"input": 0.463, "hidden": 0.60}
PAPER_STABILITY = {"input": 0.05, "hidden": 0.03}
PAPER_CLS = {"diffmask": 0.99, "schulz": 0.71}
SIGNIFICANT = 0.01


def faithfulness_claims(gate: str, rows: Sequence[dict[str, float]]) -> list[Claim]:
    """Macro-F1 before and after masking; rows: the mean over layers, one a run."""
    original, masked = (
        [100 * row[key] for row in rows] for key in ("macro_f1_original", "macro_f1_masked")
    )
    share = [row["masked"] for row in rows]
    change = np.subtract(masked, original).tolist()
    paper = PAPER_MASKED_F1[gate]
    return [
        claim(
            f"sst.{gate}.f1_original",
            "macro-F1 of the model, nothing masked",
            original[:1],
            paper=PAPER_F1,
            unit="points",
            holds=original[0] >= PAPER_F1,
        ),
        claim(
            f"sst.{gate}.f1_masked",
            f"macro-F1 with {gate} masking, gates sampled",
            masked,
            paper=paper,
            unit="points",
            holds=bool(np.mean(masked) >= original[0]),
        ),
        claim(
            f"sst.{gate}.f1_change",
            "change of macro-F1, to be no lower than 0",
            change,
            paper=paper - PAPER_F1,
            unit="points",
            holds=bool(np.mean(change) >= 0),
        ),
        claim(
            f"sst.{gate}.masked",
            f"share masked, at least {LEAST_MASKED[gate]}",
            share,
            paper=PAPER_MASKED[gate],
            unit="",
            holds=bool(np.mean(share) >= LEAST_MASKED[gate]),
        ),
    ]


def stability_claim(gate: str, value: float, runs: int) -> Claim:
    """Standard deviation of attributions over seeds."""
    paper = PAPER_STABILITY[gate]
    says = f"standard deviation of {gate} attributions over {runs} seeds, no larger"
    one = claim(f"sst.stability.{gate}", says, [value], paper=paper, unit="", holds=value <= paper)
    return one._replace(runs=runs)


def cls_claims(place: str, suffix: str, diffmask: Sequence[float], schulz: float) -> list[Claim]:
    """Whether [CLS]'s last state has the largest hidden attribution of a sentence."""
    mean = float(np.mean(diffmask))
    says = f"share of sentences in which [CLS]'s last state has the largest attribution of {place}"
    return [
        claim(
            f"sst.cls_last.diffmask{suffix}",
            f"{says}, at least 0.95 and above Schulz et al.",
            diffmask,
            paper=PAPER_CLS["diffmask"],
            unit="",
            holds=mean >= 0.95 and mean > schulz,
        ),
        claim(
            f"sst.cls_last.schulz{suffix}",
            f"{says}, Schulz et al., below DiffMask",
            [schulz],
            paper=PAPER_CLS["schulz"],
            unit="",
            holds=schulz < mean,
        ),
    ]


def polar_claim(suffix: str, gate: str, polar: Difference, runs: int) -> Claim:
    """Figure 4's statement, with its test."""
    says = (
        f"{gate} attributions: strongly positive and negative words are kept for more layers than "
        f"neutral ones; {polar.sentences} sentences, Wilcoxon p = {polar.p_value:.1e}"
    )
    holds = polar.mean > 0 and polar.p_value < SIGNIFICANT
    place = f"sst.fig4.polar_minus_neutral{suffix}"
    one = claim(place, says, [polar.mean], paper=None, unit="layers", holds=holds)
    return one._replace(spread=polar.standard_error, runs=runs)


def layer_table(layers: Sequence[str], tables: Sequence[list[dict[str, float]]]) -> str:
    """Faithfulness by layer, averaged over runs."""
    head = ("layer", "masked", "KL (nats)", "agreement", "macro-F1 original → masked")
    rows = []
    for layer, row in zip([*layers, "mean"], map(mean_row, zip(*tables, strict=True)), strict=True):
        before, after = 100 * row["macro_f1_original"], 100 * row["macro_f1_masked"]
        cells = f"{row['masked']:.1%}", f"{row['divergence']:.3f}", f"{row['agreement']:.1%}"
        rows.append([layer, *cells, f"{before:.1f} → {after:.1f}"])
    return markdown.table(head, rows)


def mean_row(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The average of a layer's rows over runs."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def flip_table(flips: dict[str, list[Flips]]) -> str:
    """Predictions turned by masking, by the model's own certainty."""
    cells = [
        [rows[0].gap, str(rows[0].sentences), *(f"{row.flipped:.1%}" for row in rows)]
        for rows in zip(*flips.values(), strict=True)
    ]
    return markdown.table(("gap of the two largest probabilities", "sentences", *flips), cells)


def make_claims(numbers: Numbers, runs: int) -> list[Claim]:
    """Every claim of the experiment."""
    claims: list[Claim] = []
    for gate, tables in numbers.sampled.items():
        claims += faithfulness_claims(gate, [table[-1] for table in tables])
    claims += [stability_claim(gate, value, runs) for gate, value in numbers.stability.items()]
    claims += cls_claims("its layer", "", *numbers.cls_largest["last layer"])
    claims += cls_claims("all states", ".of_all_states", *numbers.cls_largest["all states"])
    claims.append(polar_claim("", "input", numbers.polar["input"], runs))
    claims.append(polar_claim(".hidden", "hidden", numbers.polar["hidden"], runs))
    return claims


def body(numbers: Numbers, layers: Sequence[str], tagged: bool) -> str:
    """What the report says between its title and its claims."""
    parts = ["Times are those of the last call; what an earlier one had finished was not repeated."]
    for gate in numbers.sampled:
        mean = mean_row([table[-1] for table in numbers.sampled[gate]])
        before, after = 100 * mean["accuracy_original"], 100 * mean["accuracy_masked"]
        for name, tables in (("sampled", numbers.sampled), ("thresholded", numbers.thresholded)):
            parts += [f"### {gate} masking, {name} gates", layer_table(layers, tables[gate])]
        parts.append(f"Accuracy with sampled gates: {before:.1f} → {after:.1f} points.")
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
        parts.append(f"Among {place}: DiffMask {each}; Schulz et al. {schulz:.1%}.")
    parts += ["### Figures", "![Figure 4](figure4.png)"]
    parts.append("![Figure 5](figure5.png)" if tagged else "Figure 5 needs tags: give --tags FILE.")
    parts.append("![Figure 6](figure6.png) (as a page: [figure6.html](figure6.html))")
    return "\n\n".join(parts)
