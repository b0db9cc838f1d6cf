"""The SST experiment's claims and tables: the paper's numbers beside ours."""

from collections.abc import Sequence

import numpy as np

from diffmask_jax.analysis.token_groups import Difference
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
    original, masked, share = (
        [row[key] for row in rows] for key in ("f1_original", "f1_masked", "masked")
    )
    change = np.subtract(masked, original).tolist()
    paper = PAPER_MASKED_F1[gate]
    return [
        claim(
            f"sst.{gate}.f1_original", "macro-F1 of the model, nothing masked", original[:1],
            paper=PAPER_F1, unit="points", holds=original[0] >= PAPER_F1,
        ),
        claim(
            f"sst.{gate}.f1_masked", f"macro-F1 with {gate} masking, gates sampled", masked,
            paper=paper, unit="points", holds=bool(np.mean(masked) >= original[0]),
        ),
        claim(
            f"sst.{gate}.f1_change", "change of macro-F1, to be no lower than 0", change,
            paper=paper - PAPER_F1, unit="points", holds=bool(np.mean(change) >= 0),
        ),
        claim(
            f"sst.{gate}.masked", f"share masked, at least {LEAST_MASKED[gate]}", share,
            paper=PAPER_MASKED[gate], unit="", holds=bool(np.mean(share) >= LEAST_MASKED[gate]),
        ),
    ]  # fmt: skip


def stability_claim(gate: str, value: float, runs: int) -> Claim:
    """Standard deviation of attributions over seeds."""
    paper = PAPER_STABILITY[gate]
    says = f"standard deviation of {gate} attributions over {runs} seeds, no larger"
    found = claim(
        f"sst.stability.{gate}", says, [value], paper=paper, unit="", holds=value <= paper
    )
    return found._replace(runs=runs)


def cls_claims(place: str, suffix: str, diffmask: Sequence[float], schulz: float) -> list[Claim]:
    """Whether [CLS]'s last state has the largest hidden attribution of a sentence."""
    mean = float(np.mean(diffmask))
    says = f"share of sentences in which [CLS]'s last state has the largest attribution of {place}"
    return [
        claim(
            f"sst.cls_last.diffmask{suffix}", f"{says}, at least 0.95 and above Schulz et al.",
            diffmask, paper=PAPER_CLS["diffmask"], unit="", holds=mean >= 0.95 and mean > schulz,
        ),
        claim(
            f"sst.cls_last.schulz{suffix}", f"{says}, Schulz et al., below DiffMask",
            [schulz], paper=PAPER_CLS["schulz"], unit="", holds=schulz < mean,
        ),
    ]  # fmt: skip


def polar_claim(suffix: str, gate: str, found: Difference, runs: int) -> Claim:
    """Figure 4's statement, with its test."""
    says = (
        f"{gate} attributions: strongly positive and negative words are kept for more layers than "
        f"neutral ones; {found.sentences} sentences, Wilcoxon p = {found.p_value:.1e}"
    )
    holds = found.mean > 0 and found.p_value < SIGNIFICANT
    one = claim(
        f"sst.fig4.polar_minus_neutral{suffix}", says, [found.mean], paper=None, unit="layers",
        holds=holds,
    )  # fmt: skip
    return one._replace(spread=found.standard_error, runs=runs)


def layer_table(layers: Sequence[str], tables: Sequence[list[dict[str, float]]]) -> str:
    """Faithfulness by layer, averaged over runs."""
    lines = [
        "| layer | masked | KL (nats) | agreement | macro-F1 original → masked |",
        "|---" * 5 + "|",
    ]
    for number, layer in enumerate([*layers, "mean"]):
        row = {key: float(np.mean([t[number][key] for t in tables])) for key in tables[0][number]}
        lines.append(
            f"| {layer} | {row['masked']:.1%} | {row['divergence']:.3f} | {row['agreement']:.1%} "
            f"| {row['f1_original']:.1f} → {row['f1_masked']:.1f} |"
        )
    return "\n".join(lines)


def flip_table(found: dict[str, list[Flips]]) -> str:
    """Predictions turned by masking, by the model's own certainty."""
    gates = list(found)
    lines = [f"| gap of the two largest probabilities | sentences | {' | '.join(gates)} |"]
    lines.append("|---" * (2 + len(gates)) + "|")
    for rows in zip(*found.values(), strict=True):
        cells = [rows[0].gap, str(rows[0].sentences), *(f"{row.flipped:.1%}" for row in rows)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def make_claims(found: Numbers, runs: int) -> list[Claim]:
    """Every claim of the experiment."""
    claims: list[Claim] = []
    for gate, tables in found.sampled.items():
        claims += faithfulness_claims(gate, [table[-1] for table in tables])
    claims += [stability_claim(gate, value, runs) for gate, value in found.stability.items()]
    claims += cls_claims("its layer", "", *found.cls_largest["last layer"])
    claims += cls_claims("all states", ".of_all_states", *found.cls_largest["all states"])
    claims.append(polar_claim("", "input", found.polar["input"], runs))
    claims.append(polar_claim(".hidden", "hidden", found.polar["hidden"], runs))
    return claims


def body(found: Numbers, layers: Sequence[str], tagged: bool) -> str:
    """What the report says between its title and its claims."""
    parts = ["Times are those of the last call; what an earlier one had finished was not repeated."]
    for gate in found.sampled:
        before, after = found.accuracy[gate]
        for name, tables in (("sampled", found.sampled), ("thresholded", found.thresholded)):
            parts += [f"### {gate} masking, {name} gates", layer_table(layers, tables[gate])]
        parts.append(f"Accuracy with sampled gates: {before:.1f} → {after:.1f} points.")
        parts.append(f"![validation](training_{gate}.png)")
    parts += ["### Which predictions turn (sampled gates)", flip_table(found.flips)]
    parts.append("### [CLS]'s last state the largest hidden attribution")
    parts.append(
        "The paper does not say among which states, and divides each layer by its largest value. "
        "Where several states are surely kept (P > 0.9999), their order across layers says little. "
        "Schulz et al. at all states: evenly spaced sentences (--schulz-sentences)."
    )
    for place, (ours, schulz) in found.cls_largest.items():
        each = ", ".join(f"{share:.1%}" for share in ours)
        parts.append(f"Among {place}: DiffMask {each}; Schulz et al. {schulz:.1%}.")
    parts += ["### Figures", "![Figure 4](figure4.png)"]
    parts.append("![Figure 5](figure5.png)" if tagged else "Figure 5 needs tags: give --tags FILE.")
    parts.append("![Figure 6](figure6.png) (as a page: [figure6.html](figure6.html))")
    return "\n\n".join(parts)
