"""Erasure searched exactly, and how close learning comes to it (section 3.2, Table 2).

    python -m experiments.erasure --model GRU --raw-dir ../shared/data/sst [--out reports/erasure]

GRU is made by `diffmask finetune sst --model gru --embeddings BERT`. Cost, on two CPU cores, for
the 600 development sentences of at most 25 word pieces: 10 minutes of search, 4 of brute force on
200 short ones, 8 of learning per seed. If it is stopped and started again, it continues. The paper:
DiffMask F1 80.75 and 32.67% optimal, REINFORCE 73.57 and 8.83%.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.attribution.per_example import Settings
from diffmask_jax.attribution.prefix_search import LONGEST, Optima
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.tasks.sst import SST
from experiments.common.command import command, parser_of
from experiments.common.report import Claim, print_claims, write_report
from experiments.erasure import figures, report
from experiments.erasure.brute_force import compare
from experiments.erasure.claims import (
    NAMES,
    Runs,
    make_claims,
    other_claims,
    percent,
    search_claims,
)
from experiments.erasure.learning import LEARNERS, learn, score
from experiments.erasure.options import add_options
from experiments.erasure.study import Study, accuracy_of, open_study, search_all

# Chosen by F1 on training sentences (experiments.erasure_tuning) from the same grids for both, for
# as many steps as convergence needs and for the paper's 300. (DiffMask for 1500 steps at the rates
# of REINFORCE: 0.1 points of F1 more, 1.4 of optimality less.)
SETTINGS = {
    "diffmask": Settings(steps=1500, rate=0.05, multiplier_rate=0.2),
    "reinforce": Settings(steps=1500, rate=0.1, multiplier_rate=0.5),
}
SHORT = {
    "diffmask": Settings(steps=300, rate=0.1, multiplier_rate=0.05),
    "reinforce": Settings(steps=300, rate=0.2, multiplier_rate=0.05),
}
TIGHTER = 0.8  # the games' margin, as a share of the one within which a set is feasible


def game(study: Study, settings: Settings) -> Settings:
    """Settings with a margin that suits the study's."""
    return settings._replace(margin=round(TIGHTER * study.margin, 12))


def learn_all(
    study: Study, optima: list[Optima], seeds: int
) -> tuple[Runs, dict[str, list[float]]]:
    """Both methods' scores and seconds, for every seed."""
    runs: Runs = {}
    seconds: dict[str, list[float]] = {}
    for method, seed in itertools.product(LEARNERS, range(seeds)):
        sets, spent = learn(study, method, game(study, SETTINGS[method]), seed)
        print(f"{method}, seed {seed}: learned in {spent:.0f} s", flush=True)
        seconds.setdefault(method, []).append(spent)
        for rule, learned in sets.items():
            scores = score(learned, optima, study.margin)
            runs.setdefault(method, {}).setdefault(rule, []).append(scores)
    return runs, seconds


def learn_shortly(
    study: Study, optima: list[Optima], runs: Runs, seconds: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """Mean scores of the first seed's thresholded sets, after few steps and after all."""
    rows = []
    for method in LEARNERS:
        sets, spent = learn(study, method, game(study, SHORT[method]), seed=0)
        few = spent, score(sets["threshold"], optima, study.margin)
        all_of_them = seconds[method][0], runs[method]["threshold"][0]
        for settings, (spent, scores) in ((SHORT, few), (SETTINGS, all_of_them)):
            means = {name: percent(scores, name) for name in report.SHOWN}
            used = game(study, settings[method])._asdict()
            rows.append({"method": method, **used, "seconds": spent, **means})
    return rows


def run(options: argparse.Namespace) -> list[Claim]:
    """Run the whole experiment, write the report and return its claims."""
    out, places = options.out, places_of(SST, options)
    model = load_classifier(options.model)
    study = open_study(
        model,
        "dev",
        places,
        longest=options.longest,
        margin=options.margin,
        baseline=options.baseline,
        folder=out / "measured",
        sample=options.sentences,
    )
    accuracy = accuracy_of(model, "dev", places)
    optima, searched = search_all(study)
    print(f"{len(optima)} sentences searched in {searched:.0f} s", flush=True)
    agreement = compare(study, optima, options.brute_force)
    runs, seconds = learn_all(study, optima, options.seeds)
    budgets = learn_shortly(study, optima, runs, seconds)

    sizes = np.array([optimum.size for optimum in optima])
    learned = {NAMES[method]: rules["threshold"][0]["size"] for method, rules in runs.items()}
    figures.sizes_figure(out / "sizes.png", study.lengths, sizes, learned)
    claims = make_claims(runs)
    claims += search_claims(optima, runs, agreement)
    claims += other_claims(accuracy, searched, seconds["diffmask"])
    setup = {
        "sentences": len(optima),
        "longest": int(study.lengths.max()),
        "margin": study.margin,
        "baseline": "zero" if not study.baseline.any() else str(options.baseline),
    }
    raw = {
        "setup": setup,
        "settings": {name: game(study, settings)._asdict() for name, settings in SETTINGS.items()},
        "brute_force": agreement._asdict(),
        "budgets": budgets,
        "sentences": report.by_sentence(study.numbers, study.lengths, optima, runs),
    }
    timings = {"exact search": searched} | {
        f"{method}, seed {seed}": spent
        for method, each in seconds.items()
        for seed, spent in enumerate(each)
    }
    body = report.body(setup, study.lengths, optima, agreement, runs, budgets)
    title = "Erasure, searched exactly and learned: Table 2"
    write_report(out, title, claims, timings, body=body, raw=raw)
    print_claims(claims)
    print(f"report in {out}/report.md")
    return claims


@command("erasure")
def main() -> None:
    """Read the command line and run the experiment."""
    parser = parser_of("erasure", __doc__)
    add_options(parser)
    parser.add_argument(
        "--baseline",
        type=Path,
        help=".npy file of the vector that replaces dropped ones (default: zeros)",
    )
    parser.add_argument(
        "--longest",
        type=int,
        default=LONGEST,
        help=f"most word pieces of a sentence (default: {LONGEST})",
    )
    parser.add_argument(
        "--sentences", type=int, help="number of sentences, for a quick look (default: all)"
    )
    parser.add_argument(
        "--brute-force", type=int, default=200, help="sentences to search twice (default: 200)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: 3)")
    options = parser.parse_args()
    keep_compiled_programs()
    for name in ("seeds", "sentences", "brute_force"):
        if (count := getattr(options, name)) is not None and count < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {count}")
    run(options)


if __name__ == "__main__":
    main()
