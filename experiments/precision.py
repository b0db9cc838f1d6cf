"""The effect of bfloat16: one trained probe explains the same sentences in float32 and in bfloat16.

    python -m experiments.precision RUN … --raw-dir SST [--texts 300] [--out reports/precision]

Cost: half a minute per run on two CPU cores. The probe is always float32; only the frozen model's
precision differs. The paper does not discuss it.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.commands.shared import places_of
from diffmask_jax.data.texts import Text
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.runtime import markdown
from diffmask_jax.runtime.files import make_folder
from diffmask_jax.tasks.sst import SST
from diffmask_jax.training import setup
from diffmask_jax.training.config import PRECISIONS
from experiments.common.command import command, parser_of
from experiments.common.report import Claim, Timer, claim, print_claims, write_report

TOLD = "Keep probabilities in bfloat16 against float32, over all layers and tokens."
MEAN, SAME = 0.01, 0.99
"""The largest mean difference of keep probabilities, and the least share that stay on their side
of ½."""


@command("precision", goes_on=False)
def main() -> None:
    """Read the command line, compare run by run, and write the report."""
    parser = parser_of("precision", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders made by `diffmask train`")
    add_settings(parser, SST.places)
    parser.add_argument("--texts", type=int, default=300, help="sentences (default: 300)")
    parser.add_argument("--out", type=Path, default=Path("reports/precision"))
    options = parser.parse_args()
    timer, claims, rows = Timer(), [], {}
    make_folder(options.out)
    texts = SST.read(places_of(SST, options), "dev").texts[: options.texts]
    for run in options.runs:
        name = str(run) if run.name in rows else run.name
        with timer.part(name):
            rows[name] = compare(run, texts)
        claims += make_claims(name, rows[name])
    body, raw = f"{TOLD}\n\n{table(rows)}", {"runs": rows}
    write_report(options.out, "float32 and bfloat16", claims, timer.seconds, body=body, raw=raw)
    print(body)
    print_claims(claims)
    print(f"report in {options.out}/report.md")


def compare(run: Path, texts: list[Text]) -> dict[str, Any]:
    """The differences of keep probabilities between both precisions, over all layers and tokens."""
    explainer = Explainer.from_pretrained(run)
    explained = []
    for precision in PRECISIONS:
        config = dataclasses.replace(explainer.config, precision=precision)
        model, (_, probe) = setup.load_model(config), explainer.params
        explained.append(Explainer(config, model, probe)(texts, truncate=True))
    exact, half = ([e.keep for e in explanations] for explanations in explained)
    apart = np.concatenate([np.abs(a - b).ravel() for a, b in zip(exact, half, strict=True)])
    sides = [(a > 0.5) == (b > 0.5) for a, b in zip(exact, half, strict=True)]
    return {
        "texts": len(texts),
        "mean": float(apart.mean()),
        "quantile_99": float(np.quantile(apart, 0.99)),
        "largest": float(apart.max()),
        "same_side_of_half": float(np.concatenate([s.ravel() for s in sides]).mean()),
        "same_prediction": float(
            np.mean([a.prediction == b.prediction for a, b in zip(*explained, strict=True)])
        ),
    }


def make_claims(name: str, row: dict[str, Any]) -> list[Claim]:
    """Two claims per run."""
    mean, same = row["mean"], row["same_side_of_half"]
    return [
        claim(
            f"precision.{name}.distance",
            f"mean |Δ keep probability| at most {MEAN}",
            [mean],
            paper=None,
            unit="",
            holds=mean <= MEAN,
        ),
        claim(
            f"precision.{name}.same_side",
            f"at least {SAME:.0%} stay on their side of ½",
            [same],
            paper=None,
            unit="",
            holds=same >= SAME,
        ),
    ]


def table(rows: dict[str, dict[str, Any]]) -> str:
    """One row per run, in Markdown."""
    head = (
        "run",
        "texts",
        "mean difference",
        "99% below",
        "largest",
        "same side of ½",
        "same class",
    )
    cells = (
        [
            name,
            str(row["texts"]),
            f"{row['mean']:.4f}",
            f"{row['quantile_99']:.3f}",
            f"{row['largest']:.3f}",
            f"{row['same_side_of_half']:.1%}",
            f"{row['same_prediction']:.1%}",
        ]
        for name, row in rows.items()
    )
    return markdown.table(head, cells)


if __name__ == "__main__":
    main()
