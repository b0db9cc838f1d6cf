"""What bfloat16 changes: one trained probe explains the same sentences in float32 and in bfloat16.

    python -m experiments.precision RUN … --raw-dir SST [--texts 300] [--out reports/precision]

Cost: half a minute a run on two CPU cores. The probe stays float32 in both; what differs is what
the frozen model computes in. The paper says nothing of it.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.tasks.texts import read_sst
from diffmask_jax.training import run_folder
from experiments.common.command import told_in_one_line
from experiments.common.report import Claim, Timer, claim, print_claims, write_report

MEAN, SAME = 0.01, 0.99
"""Keep probabilities may differ by so much on average, and stay on their side of ½ so often."""


def main() -> None:
    """Reads the command line, compares run by run, writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders made by `diffmask train`")
    parser.add_argument("--raw-dir", help="folder of the treebank (default: download)")
    parser.add_argument("--data-dir", help="where the prepared treebank is kept")
    parser.add_argument("--texts", type=int, default=300, help="sentences (default 300)")
    parser.add_argument("--out", type=Path, default=Path("reports/precision"))
    options = parser.parse_args()
    timer, claims, rows = Timer(), [], {}
    with told_in_one_line("precision"):
        options.out.mkdir(parents=True, exist_ok=True)
        texts = read_sst("dev", options.raw_dir, options.data_dir).texts[: options.texts]
        for run in options.runs:
            with timer.part(run.name):
                rows[run.name] = compare(run, list(texts))
            claims += make_claims(run.name, rows[run.name])
        write_report(options.out, "float32 and bfloat16", claims, timer.seconds,
            body=table(rows), raw={"runs": rows})  # fmt: skip
    print(table(rows))
    print_claims(claims)


def compare(run: Path, texts: list[str]) -> dict[str, Any]:
    """How far apart both explain the texts: of keep probabilities, all layers and valid tokens."""
    explainer = Explainer.from_pretrained(run)
    found = []
    for precision in ("float32", "bfloat16"):
        config = dataclasses.replace(explainer.config, precision=precision)
        model, (_, probe) = run_folder.load_model(config), explainer.params
        found.append(Explainer(config, model, probe)(texts, truncate=True))
    exact, half = ([e.keep for e in explanations] for explanations in found)
    apart = np.concatenate([np.abs(a - b).ravel() for a, b in zip(exact, half, strict=True)])
    sides = [(a > 0.5) == (b > 0.5) for a, b in zip(exact, half, strict=True)]
    return {
        "texts": len(texts),
        "mean": float(apart.mean()),
        "quantile_99": float(np.quantile(apart, 0.99)),
        "largest": float(apart.max()),
        "same_side_of_half": float(np.concatenate([s.ravel() for s in sides]).mean()),
        "same_prediction": float(
            np.mean([a.prediction == b.prediction for a, b in zip(*found, strict=True)])
        ),
    }


def make_claims(name: str, row: dict[str, Any]) -> list[Claim]:
    """Two a run."""
    mean, same = row["mean"], row["same_side_of_half"]
    return [
        claim(f"precision.{name}.distance", f"mean |Δ keep probability| at most {MEAN}",
            [mean], paper=None, unit="", holds=mean <= MEAN),
        claim(f"precision.{name}.same_side", f"at least {SAME:.0%} stay on their side of ½",
            [same], paper=None, unit="", holds=same >= SAME),
    ]  # fmt: skip


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A row a run, in Markdown."""
    lines = [
        "Keep probabilities in bfloat16 against float32, over all layers and tokens.", "",
        "| run | texts | mean difference | 99% below | largest | same side of ½ | same class |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in rows.items():
        same = f"{row['same_side_of_half']:.1%} | {row['same_prediction']:.1%}"
        lines.append(
            f"| {name} | {row['texts']} | {row['mean']:.4f} | {row['quantile_99']:.3f} | "
            f"{row['largest']:.3f} | {same} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
