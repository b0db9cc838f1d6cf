"""The rates of per-example DiffMask and REINFORCE, chosen with the same care on training sentences.

    python -m experiments.erasure_tuning --model GRU --raw-dir ../shared/data/sst
    … --steps 300 --margins 0.05 0.04 --rates 0.1 0.2 0.4 --multiplier-rates 0.02 0.05
    … --steps 1500 --margins 0.04 --rates 0.05 --multiplier-rates 0.2
    … --steps 1500 --margins 0.04 --rates 0.1 0.2 --multiplier-rates 0.5

Cost: 20 minutes on one CPU core, then 6, 3 and 6. Both methods have the same grids, and are scored
against the optima of an exact search; nothing is chosen on the development set. Each call adds its
rows to reports/erasure/tuning.json.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from diffmask_jax.attribution.per_example import Settings
from diffmask_jax.attribution.prefix_search import LONGEST
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.tasks.sst import SST
from experiments.common.command import command, parser_of
from experiments.erasure.claims import percent
from experiments.erasure.learning import LEARNERS, learn, score
from experiments.erasure.options import add_options
from experiments.erasure.report import SHOWN
from experiments.erasure.study import open_study, search_all

SENTENCES = 150


def run(options: argparse.Namespace) -> None:
    """Run every setting of the grid for both methods, and write their mean scores."""
    study = open_study(
        load_classifier(options.model),
        "train",
        places_of(SST, options),
        longest=LONGEST,
        margin=options.margin,
        baseline=None,
        folder=options.out / "tuning",
        sample=SENTENCES,
    )
    optima, _ = search_all(study)
    file = options.out / "tuning.json"
    rows = _read(file)
    grid = itertools.product(
        options.margins, options.steps, options.rates, options.multiplier_rates, LEARNERS
    )
    for *values, name in grid:
        settings = Settings(*values)
        sets, seconds = learn(study, name, settings, seed=0)
        row = {"method": name, **settings._asdict(), "seconds": seconds}
        for rule, learned in sets.items():
            columns = score(learned, optima, options.margin)
            row[rule] = {column: percent(columns, column) for column in SHOWN}
        scores = "  ".join(f"{column} {row['threshold'][column]:.1f}" for column in SHOWN)
        place = " ".join(map(str, (name, *settings)))
        rows[place] = row
        print(f"{place:<36}{seconds:6.0f} s  {scores}  best f1 {row['best']['f1']:.1f}", flush=True)
        write_atomically(file, json.dumps(rows, indent=1) + "\n")


def _read(file: Path) -> dict[str, Any]:
    """The rows of earlier calls."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}): delete it to start over") from error


@command("erasure_tuning")
def main() -> None:
    """Read the command line and run the grid."""
    parser = parser_of("erasure_tuning", __doc__)
    add_options(parser)
    grid = (
        ("margins", [0.05]),
        ("rates", [0.05, 0.1, 0.2]),
        ("multiplier-rates", [0.05, 0.2, 0.5]),
    )
    for name, default in grid:
        parser.add_argument(
            f"--{name}",
            type=float,
            nargs="+",
            default=default,
            help=f"{name.replace('-', ' ')} of the games",
        )
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[300, 1000], help="steps of the games"
    )
    options = parser.parse_args()
    keep_compiled_programs()
    run(options)


if __name__ == "__main__":
    main()
