r"""What a margin buys: how much can be masked at each margin, and its cost in macro-F1.

    python -m experiments.sst.margins --model ../shared/models/sst5-minilm \
        --raw-dir ../shared/data/sst [--input 0.1 0.05 0.02] [--hidden 0.05 0.02 0.01]

Section 3.2 of the paper says at which masked share macro-F1 does not fall; the margin for that
depends on the model. There is one run per margin, on all development and test sentences. Cost,
small BERT above, on one core: 12 to 20 minutes per run, and 2 to measure it. If it is stopped and
started again, it continues.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from diffmask_jax.analysis.bootstrap import Change
from diffmask_jax.analysis.bootstrap import macro_f1 as macro_f1_of
from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.render.picture import QUIET, save
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.files import make_folder
from diffmask_jax.runtime.markdown import table
from diffmask_jax.tasks.sst import SST
from diffmask_jax.training.config import RunConfig, run_config
from experiments.common.command import command, parser_of
from experiments.common.figures import BLUE, ORANGE, clear, legend_below
from experiments.common.report import LAST_CALL, Timer, write_report
from experiments.sst import numbers, stages
from experiments.sst.report import PAPER_MASKED, told
from experiments.sst.stages import Study

STEPS = 2400
MARGINS = {"input": (0.1, 0.05, 0.02), "hidden": (0.05, 0.02, 0.01)}
COLORS = {"dev": BLUE, "test": ORANGE}


class Row(NamedTuple):
    """The results of a run at one margin (nats), averaged over its layers, with sampled gates.

    masked, agreement: shares, on the development sentences
    divergence: nats, on the development sentences
    macro_f1: its change by masking, by split ("dev", "test")
    """

    gate: str
    margin: float
    masked: float
    divergence: float
    agreement: float
    macro_f1: dict[str, Change]


def measured(study: Study, test: Study, configs: dict[Path, RunConfig]) -> list[Row]:
    """One row per run, in the order of the runs."""
    rows = []
    for folder, config in configs.items():
        found = stages.measure(study, test, [folder])
        (outcome,) = found.sampled
        masked, divergence, agreement = (
            float(of.mean()) for of in (outcome.masked, outcome.divergence, outcome.agreement)
        )
        macro_f1 = {
            split: numbers.change(macro_f1_of, of.labels, outcomes)
            for split, of, outcomes in (("dev", study, found.sampled), ("test", test, found.test))
        }
        rows.append(Row(config.gate, config.margin, masked, divergence, agreement, macro_f1))
    return rows


def body(rows: Sequence[Row]) -> str:
    """The table of a report."""
    heads = (
        "gate",
        "margin",
        "masked",
        "KL (nats)",
        "agreement",
        "macro-F1, dev",
        "macro-F1, test",
    )
    cells = (
        (
            row.gate,
            f"{row.margin:g}",
            f"{row.masked:.1%}",
            f"{row.divergence:.3f}",
            f"{row.agreement:.1%}",
            *map(told, row.macro_f1.values()),
        )
        for row in rows
    )
    return table(heads, cells)


def figure(rows: Sequence[Row], path: Path) -> None:
    """Change of macro-F1 over masked share: panels by gate, lines by split, points by margin."""
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, gate in zip(drawn.subplots(1, len(GATES), sharey=True), GATES, strict=True):
        of_gate = [row for row in rows if row.gate == gate]
        for (split, color), aside in zip(COLORS.items(), (-0.15, 0.15), strict=True):
            changes = [row.macro_f1[split] for row in of_gate]
            points = 100 * np.array([[c.change, c.low, c.high] for c in changes]).reshape(-1, 3)
            axes.errorbar(
                [100 * row.masked + aside for row in of_gate],
                points[:, 0],
                yerr=np.abs(points[:, 1:] - points[:, :1]).T,
                fmt="o-",
                color=color,
                capsize=3,
                label=split,
            )
        for row in of_gate:
            axes.annotate(
                f"{row.margin:g} nats",
                (100 * row.masked, 1),
                (0, -9),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.axvline(
            100 * PAPER_MASKED[gate],
            color="black",
            linestyle=":",
            label="masked in the paper, no loss",
        )
        axes.set_title(f"{gate} probe, one run per margin", fontsize=10)
        axes.margins(x=0.1, y=0.12)
        axes.set_xlabel("masked, %", fontsize=9)
        clear(axes)
    legend_below(drawn, columns=3)
    drawn.axes[0].set_ylabel("change of macro-F1, points", fontsize=9)
    save(drawn, path)


def run(options: argparse.Namespace) -> None:
    """Train and measure all runs that are not done yet, and write the report."""
    out, places = options.out, places_of(SST, options)
    model = load_classifier(options.model)
    study, test = stages.open_splits(model, places, out)
    configs = {
        out / "runs" / f"{gate}-{margin:g}": run_config(
            model.path, SST.name, **asdict(places), gate=gate, margin=margin, steps=options.steps
        )
        for gate in GATES
        for margin in sorted(getattr(options, gate), reverse=True)
    }
    timer = Timer()
    with timer.part("train the probes"):
        stages.train_all(configs, model)
    with timer.part("measure the probes"):
        rows = measured(study, test, configs)
    figure(rows, out / "margins.png")
    found = body(rows)
    write_report(
        out,
        "SST: what a margin buys",
        [],
        timer.seconds,
        body=f"{LAST_CALL}\n\n![masked share and macro-F1](margins.png)\n\n{found}",
        raw={"rows": [_as_json(row) for row in rows]},
    )
    print(f"{found}\nreport in {out}/report.md")


def _as_json(row: Row) -> dict[str, Any]:
    changes = {split: change._asdict() for split, change in row.macro_f1.items()}
    return row._asdict() | {"macro_f1": changes}


@command("sst.margins")
def main() -> None:
    """Read the command line and run the experiment."""
    parser = parser_of("sst.margins", __doc__)
    parser.add_argument("--model", required=True, help="BERT fine-tuned on SST, five classes")
    add_settings(parser, SST.places)
    for gate, margins in MARGINS.items():
        told = " ".join(f"{margin:g}" for margin in margins)
        parser.add_argument(
            f"--{gate}",
            type=float,
            nargs="*",
            default=margins,
            metavar="NATS",
            help=f"margins of the {gate} probe (default: {told})",
        )
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"steps of a run (default: {STEPS})"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports/sst_margins"), help="report folder"
    )
    options = parser.parse_args()
    keep_compiled_programs()
    if not any(getattr(options, gate) for gate in GATES):
        raise UserError(f"no margin: give --{' or --'.join(GATES)} at least one")
    make_folder(options.out)
    run(options)


if __name__ == "__main__":
    main()
