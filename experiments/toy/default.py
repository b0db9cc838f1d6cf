"""The toy task as a newcomer would ask: `fit_probe` with nothing turned, hidden probe.

    python -m experiments.toy.default [--seeds 10] [--steps 1600] [--out reports/toy_default]

`python -m experiments.toy` plays the authors' game: one state for all examples, log L₀. Here the
networks of the same seeds are given to `fit_probe`: the count as L₀, both states in every batch,
calibrated gate networks. The truth is known only at the hidden state. Cost on two CPU cores: a
minute for the counting models, and half a minute a seed.
"""

from pathlib import Path

import jax
import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models.toy import TOY
from diffmask_jax.runtime.files import make_folder
from diffmask_jax.runtime.markdown import table
from diffmask_jax.training.own_network import fit_probe
from experiments.common.command import command, parser_of
from experiments.common.report import Timer, claim, print_claims, write_report
from experiments.toy import parts, setup
from experiments.toy.parts import HIDDEN
from experiments.toy.report import distances

LARGEST_KL = 0.005  # nats


def run(seeds: list[int], steps: int, out: Path) -> None:
    """Train the counting models and a probe of each, and write the report."""
    timer = Timer()
    task = parts.make_task(seeds)
    with timer.part("counting models"):
        models = parts.train(task)
    kept, told = [], []
    with timer.part("probes"):
        for number, seed in enumerate(seeds):
            params, examples, dev = jax.tree.map(
                lambda a, number=number: a[number],
                (models.params, task.training.inputs, models.dev.inputs),
            )
            fitted = fit_probe(
                TOY, params, examples, gate="hidden", margin=setup.MARGIN, steps=steps, seed=seed
            )
            kept.append(fitted(dev)[HIDDEN])
            told.append(fitted.settled())
    kl, js = (np.asarray(values) for values in distances(np.stack(kept), models.dev))
    rows = table(
        ("seed", "KL", "JS", "training"),
        (
            (str(seed), f"{one:.4f}", f"{other:.4f}", words)
            for seed, one, other, words in zip(seeds, kl, js, told, strict=True)
        ),
    )
    claims = [
        claim(
            "toy.default.kl",
            f"KL of the truth from the probe of `fit_probe` as it comes, at most {LARGEST_KL}",
            kl.tolist(),
            paper=None,
            unit="nats",
            holds=bool(kl.mean() <= LARGEST_KL),
        )
    ]
    write_report(
        out,
        "Toy task, default probe",
        claims,
        timer.seconds,
        body=rows,
        raw={"seeds": seeds, "steps": steps, "kl": kl, "js": js, "settled": told},
    )
    print(rows)
    print_claims(claims)
    print(f"report in {out}/report.md")


@command("toy.default", goes_on=False)
def main() -> None:
    """Read the command line and run."""
    parser = parser_of("toy.default", __doc__)
    add = parser.add_argument
    add("--seeds", type=int, default=10, help="number of seeds (default: 10)")
    add("--steps", type=int, default=1600, help="steps of a probe, `fit_probe`'s (default: 1600)")
    add("--out", type=Path, default=Path("reports/toy_default"), help="report folder")
    options = parser.parse_args()
    for name in ("seeds", "steps"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(options, name)}")
    make_folder(options.out)
    run(list(range(options.seeds)), options.steps, options.out)


if __name__ == "__main__":
    main()
