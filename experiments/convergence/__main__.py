r"""The yardstick: how fast do different ways of playing reach the solution, and is there one?

    python -m experiments.convergence --model ../shared/models/sst5-minilm \
        --raw-dir ../shared/data/sst [--data-dir tfds] [--gate hidden] [--out reports/convergence]

References are the recipe played for very long, with two seeds that no trial has. Every recipe of
`recipe.py` is played for the same budget, with three seeds, and compared with the first
reference's keep probabilities on the development set, as far as that has come. If it is stopped
and started again, it continues. Cost, small BERT above: on one core, two hours for a reference of
the hidden probe and four for the input probe, and a twentieth of that per trial; `--references 0`
plays only trials, beside another process that plays no `--recipes`.
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.game.gates import GATES
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.files import make_folder
from diffmask_jax.training.train import Prepared
from experiments.common.command import command, parser_of
from experiments.common.probe_runs import with_passes
from experiments.common.report import Claim, Timer, print_claims, write_report
from experiments.convergence import figures, report, trial
from experiments.convergence.places import (
    MARGINS,
    add_places,
    config_of,
    prepared_for,
    reference_folder,
    trial_folder,
)
from experiments.convergence.recipe import PLAYED_BEFORE, RECIPES, Recipe
from experiments.convergence.report import End, Trial

REFERENCE_SEED = 1000
"""The seed of the first reference: of no trial, which would be the reference's own beginning."""

GROUP = 9
"""The courses of so many recipes are drawn in one picture."""


@command("convergence")
def main() -> None:
    """Play the references, then the recipes, and report."""
    parser = parser_of("convergence", __doc__)
    add_places(parser)
    add = parser.add_argument
    add("--gate", choices=tuple(GATES), default="hidden", help="which probe (default: hidden)")
    add("--examples", type=int, default=51_200, help="examples of a trial (default: 51200)")
    add(
        "--reference-examples",
        type=int,
        default=1_024_000,
        help="examples of a reference (default: 1024000)",
    )
    add("--references", type=int, default=2, help="seeds of the reference (default: 2)")
    add("--seeds", type=int, default=3, help="seeds of every recipe (default: 3)")
    add("--recipes", nargs="*", choices=tuple(RECIPES), help="recipes to try (default: all)")
    options = parser.parse_args()
    keep_compiled_programs()
    for name, least in (
        ("examples", 1),
        ("reference_examples", 1),
        ("references", 0),
        ("seeds", 1),
    ):
        if (count := getattr(options, name)) < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, not {count}")
    study(options)


def study(options: argparse.Namespace) -> list[Claim]:
    """Play the references, then all trials that are not done yet; returns the report's claims."""
    prepared, timer = prepared_for(options, options.gate), Timer()
    whole = functools.cache(lambda: with_passes(prepared))
    folder = options.out / options.gate
    recipes = list(RECIPES) if options.recipes is None else options.recipes
    with timer.part("references"):
        for number in range(options.references):
            where, seed = reference_folder(folder, number), REFERENCE_SEED + number
            _play(options, whole, Recipe(), seed, options.reference_examples, where)
    with timer.part("trials"):
        for name in recipes:
            for seed in range(options.seeds):
                where = trial_folder(folder, name, seed)
                _play(options, whole, RECIPES[name], seed, options.examples, where)
    claims = _report(options, prepared, timer)
    print_claims(claims)
    print(f"report in {folder}/report.md")
    return claims


def _report(options: argparse.Namespace, prepared: Prepared, timer: Timer) -> list[Claim]:
    """Report on everything that has been played so far, by whichever process."""
    folder, gate, layers = options.out / options.gate, options.gate, prepared.model.network.layers
    long_ones = sorted(folder.glob("references/*"))
    settled = _ends(long_ones)
    truth = settled[0].keep if settled else None
    references = _found(long_ones, truth)
    by_name = {
        name: _found([trial_folder(folder, name, seed) for seed in range(options.seeds)], truth)
        for name in RECIPES
    }
    trials = {name: seeds for name, seeds in by_name.items() if seeds}
    claims = report.claims(gate, trials, PLAYED_BEFORE[gate]) if trials else []
    seeds = _ends([trial_folder(folder, report.BEST, seed) for seed in range(options.seeds)])
    lengths = [len(text.tokens) for text in prepared.texts.dev]
    claims += report.apart_claims(gate, seeds, settled, lengths)
    apart = report.apart({"seeds of the recipe": seeds, "references": settled})
    parts = [
        *_of_references(folder, gate, layers, references),
        *(_of_recipes(folder, gate, layers, trials, references) if trials else []),
        *(["## How far two are apart", report.apart_table(layers, apart)] if apart else []),
    ]
    write_report(
        folder,
        f"Convergence of the {gate} probe",
        claims,
        timer.seconds,
        body="\n\n".join([report.MEANINGS, *parts]),
        raw={
            "references": report.as_raw({"all": references})["all"],
            "trials": report.as_raw(trials),
            "apart": apart,
        },
    )
    return claims


def _of_references(
    folder: Path, gate: str, layers: Sequence[str], references: Sequence[Trial]
) -> Iterator[str]:
    """The report's paragraphs about references; draws a figure of each."""
    for number, reference in enumerate(references):
        end = reference.marks[-1]
        yield f"## Reference {number}: {end.examples:,} examples, {end.seconds:.0f} s"
        yield report.layers_table(layers, end, MARGINS[gate])
        yield f"![](reference{number}.png)"
        title = f"Reference {number} of the {gate} probe"
        place = folder / f"reference{number}.png"
        figures.layers_figure(place, title, layers, reference.marks, MARGINS[gate])


def _of_recipes(
    folder: Path,
    gate: str,
    layers: Sequence[str],
    trials: Mapping[str, Sequence[Trial]],
    references: Sequence[Trial],
) -> Iterator[str]:
    """The report's paragraphs about recipes; draws their distances, courses, and layers."""
    to = "to the reference" if references else "between seeds"
    apart = references[1].distances[-1] if len(references) > 1 else None
    figures.recipes_figure(folder / "recipes.png", f"Distance {to}, {gate} probe", trials, apart)
    names = report.sorted_by_distance(trials)
    groups = [names[first : first + GROUP] for first in range(0, len(names), GROUP)]
    for number, group in enumerate(groups, 1):
        courses = {name: trials[name][0] for name in group}
        if references:
            courses["reference 0"] = references[0]
        title = f"On the way, {gate} probe, one seed each"
        figures.courses_figure(folder / f"courses{number}.png", title, courses, MARGINS[gate])
    for name in names:
        where = trial_folder(folder, name, 0).parent / "layers.png"
        title = f"{name}, {gate} probe"
        figures.layers_figure(where, title, layers, trials[name][0].marks, MARGINS[gate])
    yield "## Recipes, each with what it changes"
    yield report.recipes_table(trials, MARGINS[gate])
    yield "![](recipes.png)"
    yield from (f"![](courses{number}.png)" for number, _ in enumerate(groups, 1))
    yield "Every recipe's folder has its layers, one by one: `layers.png` (one seed)."


def _found(folders: Sequence[Path], truth: np.ndarray | None) -> list[Trial]:
    """The trials of folders that have reached a mark."""
    found = {folder: trial.marks_in(folder) for folder in folders}
    return report.trials_of({folder: marks for folder, marks in found.items() if marks}, truth)


def _ends(folders: Sequence[Path]) -> list[End]:
    """The probes at the last marks of those trials that have reached one."""
    reached = ((folder, trial.marks_in(folder)) for folder in folders)
    return [
        End(last.examples, np.load(folder / f"keep-{last.examples}.npy"))
        for folder, marks in reached
        for last in marks[-1:]
    ]


def _play(
    options: argparse.Namespace,
    whole: Callable[[], Prepared],
    recipe: Recipe,
    seed: int,
    examples: int,
    folder: Path,
) -> None:
    make_folder(folder)
    config = config_of(options, options.gate, seed)
    end = trial.run(recipe, config, whole, examples, folder)[-1]
    print(f"{folder}: {np.mean(end.masked):.1%} masked after {end.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
