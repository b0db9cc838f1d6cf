"""Erasure searched exactly, and how close learning comes to it (section 3.2, Table 2).

    python -m experiments.erasure --model GRU --raw-dir ../shared/data/sst [--out reports/erasure]

GRU is made by `diffmask finetune sst --model gru --embeddings BERT`. Cost, on two CPU cores, for
the 600 development sentences of at most 25 word pieces: 10 minutes of search, 4 of brute force on
200 short ones, 8 a seed of learning. Stopped and started again, it goes on where it was. The
paper: DiffMask F1 80.75 and 32.67% optimal, REINFORCE 73.57 and 8.83%.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.attribution.per_example import Settings
from diffmask_jax.attribution.prefix_search import LONGEST, Optima
from diffmask_jax.compile_cache import keep_compiled_programs
from diffmask_jax.errors import UserError
from diffmask_jax.models.loading import load_classifier
from experiments import erasure_figures, erasure_report
from experiments.erasure_brute_force import compare
from experiments.erasure_learning import LEARNERS, learn, score
from experiments.erasure_study import Study, open_study, search_all
from experiments.report import Claim, Timer, write_report

# Chosen on training sentences by experiments.erasure_tuning, the same grid for both.
SETTINGS = {
    "diffmask": Settings(margin=0.05, steps=1500, rate=0.05, multiplier_rate=0.2),
    "reinforce": Settings(margin=0.05, steps=1500, rate=0.05, multiplier_rate=0.2),
}
CURVE = (100, 300, 600)  # fewer steps, the first seed, to show how both methods converge


def learn_all(
    study: Study, optima: list[Optima], seeds: int, timer: Timer
) -> tuple[erasure_report.Runs, dict[str, list[float]]]:
    """Both methods' scores and seconds, of every seed."""
    runs: erasure_report.Runs = {}
    seconds: dict[str, list[float]] = {}
    for method in LEARNERS:
        for seed in range(seeds):
            with timer.part(f"{method}, seed {seed}"):
                sets, spent = learn(study, method, SETTINGS[method], seed)
            seconds.setdefault(method, []).append(spent)
            for rule, found in sets.items():
                scores = score(found, optima, study.margin)
                runs.setdefault(method, {}).setdefault(rule, []).append(scores)
    return runs, seconds


def learn_curve(
    study: Study, optima: list[Optima], runs: erasure_report.Runs, seconds: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """Mean scores of the thresholded sets after fewer steps, and after all of the first seed's."""
    rows = []
    for method, settings in SETTINGS.items():
        for steps in CURVE:
            sets, spent = learn(study, method, settings._replace(steps=steps), seed=0)
            found = score(sets["threshold"], optima, study.margin)
            rows.append(_row(method, steps, spent, found))
        rows.append(_row(method, settings.steps, seconds[method][0], runs[method]["threshold"][0]))
    return rows


def _row(method: str, steps: int, spent: float, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    means = {
        name: erasure_report.percent(scores, name) for name in ("f1", "optimality", "feasible")
    }
    return {"method": method, "steps": steps, "seconds": spent, **means}


def run(options: argparse.Namespace) -> list[Claim]:
    """The whole experiment; writes the report and gives its claims."""
    out, timer = options.out, Timer()
    study = open_study(
        load_classifier(options.model), "dev", (options.raw_dir, options.data_dir),
        options.longest, options.margin, options.baseline, out / "measured", options.sentences,
    )  # fmt: skip
    with timer.part("exact search"):
        optima, searched = search_all(study)
    with timer.part("brute force on short sentences"):
        agreement = compare(study, optima, options.brute_force)
    runs, seconds = learn_all(study, optima, options.seeds, timer)
    with timer.part("fewer steps"):
        curve = learn_curve(study, optima, runs, seconds)

    sizes = np.array([found.size for found in optima])
    learned = {
        erasure_report.NAMES[method]: rules["threshold"][0]["size"]
        for method, rules in runs.items()
    }
    erasure_figures.sizes_figure(out / "sizes.png", study.lengths, sizes, learned)
    claims = erasure_report.make_claims(runs)
    claims += erasure_report.search_claims(searched, seconds["diffmask"], agreement)
    raw = {
        "settings": {method: settings._asdict() for method, settings in SETTINGS.items()},
        "margin": options.margin,
        "brute_force": agreement._asdict(),
        "curve": curve,
        "seconds": {"search": searched, **seconds},
        "sentences": erasure_report.by_sentence(study.numbers, study.lengths, optima, runs),
    }
    body = erasure_report.body(study.lengths, optima, agreement, runs, curve)
    title = "Erasure, searched exactly and learned: Table 2"
    write_report(out, title, claims, timer.seconds, body=body, raw=raw)
    for c in claims:
        print(f"{c.id:<40}{c.ours:8.3f} {c.unit:<7} {'holds' if c.holds else 'DOES NOT HOLD'}")
    print(f"report in {out}/report.md")
    return claims


def main() -> None:
    """Reads the command line and runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="GRU made by `diffmask finetune sst`")
    parser.add_argument("--raw-dir", help="folder of train.txt, dev.txt, test.txt")
    parser.add_argument("--data-dir", help="where the prepared data set is kept")
    parser.add_argument("--margin", type=float, default=0.05, help="of feasibility, in nats")
    parser.add_argument(
        "--baseline", type=Path, help=".npy file of a vector that replaces dropped ones (zeros)"
    )
    parser.add_argument(
        "--longest", type=int, default=LONGEST, help=f"word pieces, at most {LONGEST}"
    )
    parser.add_argument("--sentences", type=int, help="only so many, for a quick look (all)")
    parser.add_argument("--brute-force", type=int, default=200, help="sentences to search twice")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default 3)")
    parser.add_argument("--out", type=Path, default=Path("reports/erasure"), help="report folder")
    options = parser.parse_args()
    keep_compiled_programs()
    try:
        if options.seeds < 1:
            raise UserError(f"--seeds must be at least 1, got {options.seeds}")
        options.out.mkdir(parents=True, exist_ok=True)
        run(options)
    except UserError as error:
        print(f"experiments.erasure: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
