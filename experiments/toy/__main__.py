"""Table 1, Figure 3 and Figure 11: do attributions find what the counting model counts?

    python -m experiments.toy [--seeds 5] [--out reports/toy] [--setting ours|authors]
                              [--embedding-baseline mean|learned]

Cost: a minute or two on two CPU cores for 5 seeds, almost half of it for compilation. The counting
models are trained at a rate that falls to 0, and the best epoch on separate held-out examples is
kept; all parts that need only these models run concurrently. The paper's Table 1 (attribution to
the hidden state, KL / JS to the truth in nats): erasure – / 0.27, integrated gradients 1.32 / 0.27,
Schulz et al. 1.12 / 0.18, Guan et al. 0.88 / 0.24, DiffMask 0.01 / 0.00.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import make_folder
from experiments.common.beside import beside
from experiments.common.command import command, parser_of
from experiments.common.report import Claim, Timer, print_claims, write_report
from experiments.toy import figures, methods, pages, parts, setup
from experiments.toy.parts import COUNTING, EXAMPLE, HIDDEN, ON_EMBEDDING, ON_HIDDEN, Models
from experiments.toy.report import BASELINE, BODY, NAMES, averaged, distances, make_claims, table_1


def draw(models: Models, example: int, found: dict[str, Any], folder: Path) -> None:
    """Draw Figure 3, attributions for one example, DiffMask's to both states; Figure 11; a page."""
    first = jax.tree.map(lambda a: a[0], models)
    embedding, hidden = (
        jax.tree.map(lambda a: a[0], found[name]) for name in (ON_EMBEDDING, ON_HIDDEN)
    )
    rows = {NAMES[n]: found[EXAMPLE][n] for n in NAMES if n in found[EXAMPLE]}
    rows |= {ON_EMBEDDING: embedding.keep[example], ON_HIDDEN: hidden.keep[example]}
    inputs, states = first.dev.inputs, first.dev_clean.states
    figures.figure_3(folder / "figure3.png", inputs, example, rows)
    figures.figure_11(folder / "figure11.png", states[HIDDEN], inputs.valid, first.dev.truth)
    probes, keep = (embedding.probe, hidden.probe), jnp.stack([embedding.keep, hidden.keep])
    pages.write_page(folder / "page.html", first.params, probes, first.dev_clean, keep)


def run(seeds: list[int], setting: str, baseline: str, folder: Path) -> list[Claim]:
    """Run the whole experiment, write the report and return its claims."""
    timer = Timer()
    task, plan = parts.make_task(seeds), parts.make_plan(setting, baseline)
    models = beside(parts.first(task, plan), timer)[COUNTING]
    example = figures.choose_example(task.dev.inputs, task.dev.truth)
    found = beside(parts.then(models, plan, example), timer)
    embedding, hidden = found[ON_EMBEDDING], found[ON_HIDDEN]
    with timer.part("integrated gradients, from b"):
        b = hidden.probe["baselines"][HIDDEN]
        start = Statistics(mean=b, deviation=jnp.zeros_like(b))
        from_b = parts.attribute(models, methods.FROM_BASELINE, start)
        moved = [v.tolist() for v in distances(from_b, models.dev)]
    with timer.part("figures and page"):
        draw(models, example, found, folder)

    accuracy = np.asarray(setup.accuracy(models.dev_clean, models.dev.label))
    attributions = {name: found.get(name, hidden.keep) for name in NAMES}
    table = {name: np.asarray(distances(a, models.dev)) for name, a in attributions.items()}
    mean_keep = np.asarray(setup.mean_keep(embedding.keep, models.dev.inputs.valid))
    claims = make_claims(accuracy, table, mean_keep)
    body = BODY.format(
        table=table_1(table),
        averaged=averaged(len(seeds)),
        baseline=BASELINE[baseline],
        kl=np.mean(moved[0]),
        js=np.mean(moved[1]),
    )
    curves = {"hidden": hidden.curves, "embedding": embedding.curves}
    raw = {
        "seeds": seeds,
        "accuracy": accuracy.tolist(),
        "table1": {name: {"kl": v[0].tolist(), "js": v[1].tolist()} for name, v in table.items()},
        "integrated_gradients_from_learned_baseline": {"kl": moved[0], "js": moved[1]},
        "setting": setting,
        "embedding_baseline": baseline,
        "embedding_keep": mean_keep.tolist(),
        "curves": jax.tree.map(lambda a: a.tolist(), curves),
    }
    title, timings = "Toy task: what does the counting model count?", timer.seconds
    write_report(folder, title, claims, timings | {"all": timer.passed}, body=body, raw=raw)
    print(f"\nTable 1, {averaged(len(seeds))}, in nats\n{table_1(table)}")
    print_claims(claims)
    print(f"all: {timer.passed:.1f} s; report in {folder}/report.md")
    print(f"open {folder}/page.html: which digits the network still needs at each of its states")
    return claims


@command("toy", goes_on=False)
def main() -> None:
    """Read the command line and run the experiment."""
    parser = parser_of("toy", __doc__)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("reports/toy"), help="report folder")
    parser.add_argument(
        "--setting",
        choices=parts.SETTINGS,
        default="ours",
        help="whose learning rates DiffMask has",
    )
    parser.add_argument("--embedding-baseline", choices=["mean", "learned"], default="mean")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        raise UserError(f"--seeds must be at least 1, not {arguments.seeds}")
    make_folder(arguments.out)
    seeds = list(range(arguments.seeds))
    run(seeds, arguments.setting, arguments.embedding_baseline, arguments.out)


if __name__ == "__main__":
    main()
