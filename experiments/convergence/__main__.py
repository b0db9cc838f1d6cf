"""The yardstick: how fast do ways to play come to the solution, and is there one?

    python -m experiments.convergence --model ../shared/models/sst5-minilm \
        --raw-dir ../shared/data/sst [--data-dir tfds] [--gate hidden] [--out reports/convergence]

References are the recipe played far past anyone's patience, two seeds; every recipe of `recipe.py`
is played for the same budget, by three seeds, and compared with the first reference's keep
probabilities on the development set. Stopped and started again, it goes on where it was. Cost,
small BERT above: two hours a reference of the hidden probe and four of the input one on one core,
and a tenth of that a trial.
"""

import argparse
from pathlib import Path

import numpy as np

from diffmask_jax.commands.arguments import Parser
from diffmask_jax.game.gates import GATES
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.training import clean_states
from diffmask_jax.training.config import run_config
from diffmask_jax.training.train import Prepared, prepare
from experiments.common.command import told_in_one_line
from experiments.common.resume import make_folder
from experiments.convergence import distance, trial
from experiments.convergence.recipe import RECIPES, Recipe
from experiments.convergence.trial import Mark

MARGINS = {"input": 0.1, "hidden": 0.05}


def main() -> None:
    """Play the references, then the recipes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="folder or hub id of a classifier of SST-5")
    add("--raw-dir", help="folder of SST's trees")
    add("--data-dir", help="where TensorFlow Datasets keeps what it made of them")
    add("--gate", choices=tuple(GATES), default="hidden", help="which probe (default: hidden)")
    add("--examples", type=int, default=102_400, help="budget of a trial (default: 102400)")
    add("--reference-examples", type=int, default=1_024_000, help="(default: 1024000)")
    add("--references", type=int, default=2, help="seeds of the reference (default: 2)")
    add("--seeds", type=int, default=3, help="of every recipe (default: 3)")
    add("--recipes", nargs="*", choices=tuple(RECIPES), help="only these (default: all)")
    add("--out", type=Path, default=Path("reports/convergence"), help="folder of all results")
    options = parser.parse_args()
    keep_compiled_programs()
    with told_in_one_line("convergence"):
        study(options)


def study(options: argparse.Namespace) -> None:
    """References first; a trial that is done is not repeated."""
    prepared = _prepared(options)
    folder = options.out / options.gate
    for seed in range(options.references):
        where = folder / "references" / str(seed)
        _play(options, prepared, Recipe(), seed, options.reference_examples, where)
    truth = folder / "references" / "0" / f"keep-{_last(options.reference_examples, Recipe())}.npy"
    for name in options.recipes or RECIPES:
        for seed in range(options.seeds):
            where = folder / name.replace(" ", "-") / str(seed)
            marks = _play(options, prepared, RECIPES[name], seed, options.examples, where)
            if truth.exists():
                found = np.load(where / f"keep-{marks[-1].examples}.npy")
                print(f"{name}, seed {seed}: distance {distance.mean(found, np.load(truth)):.4f}")


def _prepared(options: argparse.Namespace) -> Prepared:
    config = _config(options, 0)
    prepared = prepare(config, truncate=True)
    model = prepared.model
    limit = model.config.positions
    passes = clean_states.compute(model.network, model.params, prepared.texts.train, limit)
    return prepared._replace(passes=passes)


def _config(options: argparse.Namespace, seed: int):  # type: ignore[no-untyped-def]
    places = {"raw_dir": options.raw_dir, "data_dir": options.data_dir}
    game = {"gate": options.gate, "margin": MARGINS[options.gate], "seed": seed}
    return run_config(options.model, "sst", **places, **game)


def _last(examples: int, recipe: Recipe) -> int:
    return trial.marks_of(examples, recipe.batch)[-1] * recipe.batch


def _play(
    options: argparse.Namespace,
    prepared: Prepared,
    recipe: Recipe,
    seed: int,
    examples: int,
    folder: Path,
) -> list[Mark]:
    make_folder(folder)
    return trial.run(recipe, _config(options, seed), prepared, examples, folder)


if __name__ == "__main__":
    main()
