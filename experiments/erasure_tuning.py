"""The rates of per-example DiffMask and REINFORCE, chosen with the same care on training sentences.

    python -m experiments.erasure_tuning --model GRU --raw-dir ../shared/data/sst

Cost: about 40 minutes on one CPU core. The same grid for both methods, scored against the optima of
an exact search; nothing is chosen on the development set. Writes reports/erasure/tuning.json.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.attribution.per_example import Settings
from diffmask_jax.attribution.prefix_search import LONGEST
from diffmask_jax.compile_cache import keep_compiled_programs
from diffmask_jax.errors import UserError
from diffmask_jax.files import write_atomically
from diffmask_jax.models.loading import load_classifier
from experiments.erasure_learning import LEARNERS, learn, score
from experiments.erasure_study import open_study, search_all

SENTENCES = 150
RATES = (0.05, 0.1, 0.2)
MULTIPLIER_RATES = (0.05, 0.2, 0.5)
SHOWN = ("precision", "recall", "f1", "optimality", "kept", "feasible")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every setting of the grid for both methods; gives and writes their mean scores."""
    places = options.raw_dir, options.data_dir
    model = load_classifier(options.model)
    study = open_study(
        model, "train", places, LONGEST, options.margin, None, options.out / "tuning", SENTENCES
    )
    optima, _ = search_all(study)
    rows = []
    grid = itertools.product(options.steps, options.margins, RATES, MULTIPLIER_RATES, LEARNERS)
    for steps, margin, rate, multiplier_rate, name in grid:
        settings = Settings(margin, steps, rate, multiplier_rate)
        sets, seconds = learn(study, name, settings, seed=0)
        row = {"method": name, **settings._asdict(), "seconds": seconds}
        for rule, found in sets.items():
            columns = score(found, optima, options.margin)
            row[rule] = {column: 100 * float(np.mean(columns[column])) for column in SHOWN}
        rows.append(row)
        scores = "  ".join(f"{column} {row['threshold'][column]:.1f}" for column in SHOWN)
        place = " ".join(map(str, (name, *settings)))
        print(f"{place:<36}{seconds:6.0f} s  {scores}  best f1 {row['best']['f1']:.1f}", flush=True)
        write_atomically(options.out / "tuning.json", json.dumps(rows, indent=1) + "\n")
    return rows


def main() -> None:
    """Reads the command line and runs the grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="GRU made by `diffmask finetune sst`")
    parser.add_argument("--raw-dir", help="folder of train.txt, dev.txt, test.txt")
    parser.add_argument("--data-dir", help="where the prepared data set is kept")
    parser.add_argument("--margin", type=float, default=0.05, help="of feasibility, in nats")
    parser.add_argument("--margins", type=float, nargs="+", default=[0.05], help="of the games")
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 1000], help="of the games")
    parser.add_argument("--out", type=Path, default=Path("reports/erasure"), help="report folder")
    options = parser.parse_args()
    keep_compiled_programs()
    try:
        run(options)
    except UserError as error:
        print(f"experiments.erasure_tuning: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
