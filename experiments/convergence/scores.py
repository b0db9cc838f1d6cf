r"""What masking costs in macro-F1 at the solution: the references, on SST's dev and test sentences.

    python -m experiments.convergence.scores --model ../shared/models/sst5-minilm \
        --raw-dir ../shared/data/sst [--data-dir tfds] [--out reports/convergence]

It looks at the last checkpoints of the references that `python -m experiments.convergence` has
played, of either gate: does a loss of macro-F1 go away when the game is played for long? Cost,
small BERT above, on one core: 3 minutes per reference.
"""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from diffmask_jax.analysis.bootstrap import Change
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.game.gates import GATES
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.markdown import table
from diffmask_jax.tasks.sst import SST
from diffmask_jax.training import setup
from experiments.common.command import command, parser_of
from experiments.common.measuring import outcome, programs
from experiments.common.report import LAST_CALL, Timer, write_report
from experiments.convergence import trial
from experiments.convergence.places import MARGINS, add_places, config_of, prepared_for
from experiments.convergence.recipe import Recipe
from experiments.sst import numbers, stages
from experiments.sst.report import told

SCORES = {"macro_f1": "macro-F1", "macro_f1_per_batch": "authors' way"}


class Row(NamedTuple):
    """A reference with sampled gates: means over its layers.

    masked, agreement: shares, on the development sentences
    divergence: nats, on the development sentences
    changes: by split ("dev", "test") and score (`numbers.changes`), what masking changes
    """

    gate: str
    reference: int
    examples: int
    masked: float
    divergence: float
    agreement: float
    changes: dict[str, dict[str, Change]]


def measured(options: argparse.Namespace) -> Iterator[Row]:
    """One row per reference that has been played, of all gates."""
    for gate in GATES:
        places = sorted((options.out / gate).glob("references/*"))
        if not (folders := [folder for folder in places if trial.marks_in(folder)]):
            continue
        prepared = prepared_for(options, gate)
        model = prepared.model
        place = options.out / "scores"
        dev, test = stages.open_splits(model, places_of(SST, options), place)
        studies = {"dev": dev, "test": test}
        config = config_of(options, gate, 0)
        sampled = programs(setup.make_game(config, model.network, model.config.width)).sampled
        for folder in folders:
            state = trial.last_state(Recipe(), config, prepared, folder)
            params = model.params, state.probe.slow
            examples = int(state.step) * Recipe().batch
            where = place / "measured" / f"{gate}-{folder.name}-{examples}"
            found: dict[str, Outcome] = {
                split: outcome(study.batches(stages.BATCH), sampled, params, where / f"{split}.npz")
                for split, study in studies.items()
            }
            of_dev = found["dev"]
            yield Row(
                gate,
                int(folder.name),
                examples,
                float(of_dev.masked.mean()),
                float(of_dev.divergence.mean()),
                float(of_dev.agreement.mean()),
                {
                    split: numbers.changes(study.labels, [found[split]])
                    for split, study in studies.items()
                },
            )


def body(rows: list[Row]) -> str:
    """The table of a report."""
    splits = ("dev", "test")
    heads = ["gate", "reference", "examples", "masked, dev", "KL / margin, dev", "agreement, dev"]
    heads += [f"{name}, {split}" for split in splits for name in SCORES.values()]
    cells = (
        (
            row.gate,
            str(row.reference),
            f"{row.examples:,}",
            f"{row.masked:.1%}",
            f"{row.divergence / MARGINS[row.gate]:.2f}",
            f"{row.agreement:.1%}",
            *(told(row.changes[split][score]) for split in splits for score in SCORES),
        )
        for row in rows
    )
    return table(heads, cells)


def study(options: argparse.Namespace) -> None:
    """Measure all references and write the report."""
    timer = Timer()
    with timer.part("measure the references"):
        rows = list(measured(options))
    if not rows:
        raise UserError(
            f"there is no reference in {options.out}: `python -m experiments.convergence` plays one"
        )
    found = body(rows)
    write_report(
        options.out / "scores",
        "Macro-F1 of the references",
        [],
        timer.seconds,
        body=f"{LAST_CALL}\n\n{found}",
        raw={
            "rows": [
                row._asdict() | {"changes": numbers.changes_as_json(row.changes)} for row in rows
            ]
        },
    )
    print(f"{found}\nreport in {options.out / 'scores'}/report.md")


@command("convergence.scores")
def main() -> None:
    """Read the command line and measure."""
    parser = parser_of("convergence.scores", __doc__)
    add_places(parser)
    options = parser.parse_args()
    keep_compiled_programs()
    study(options)


if __name__ == "__main__":
    main()
