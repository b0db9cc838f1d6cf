"""Table 1, Figure 3 and Figure 11: do attributions find what the counting model counts?

    python -m experiments.toy [--seeds 5] [--out reports/toy] [--setting ours|authors]
                              [--embedding-baseline mean|learned]

Cost: minutes on two CPU cores for 5 seeds. The counting models are trained at a rate that falls to
0, and the epoch is kept that is best on examples held out for that alone. The paper's Table 1
(attribution to the hidden state, KL / JS to the truth in nats): erasure – / 0.27, integrated
gradients 1.32 / 0.27, Schulz et al. 1.12 / 0.18, Guan et al. 0.88 / 0.24, DiffMask 0.01 / 0.00.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.analysis import ground_truth
from diffmask_jax.errors import UserError
from diffmask_jax.game.objective import Clean
from diffmask_jax.game.players import Rates
from experiments.common.command import told_in_one_line
from experiments.common.report import Claim, Timer, print_claims, write_report
from experiments.common.resume import make_folder
from experiments.toy import figures, methods, pages, setup
from experiments.toy.report import BASELINE, BODY, NAMES, make_claims, table_1
from experiments.toy.setup import Split

AUTHORS = Rates(probe=3e-4, baseline=1e-3, multiplier=0.3, warmup=200)
FASTER = Rates(probe=1e-3, baseline=1e-3, multiplier=0.1, warmup=200)
# Rates for the embedding and for the hidden state, and epochs. The authors' leave one seed of five
# unfinished at the hidden state after their 100 epochs, where a faster probe against a calmer
# multiplier brings all five to the truth in 60; at the embedding that pair oscillates.
SETTINGS = {"ours": (AUTHORS, FASTER, 60), "authors": (AUTHORS, AUTHORS, 100)}
EMBEDDING, HIDDEN = 0, 1
# Of the positions, where a program runs for so short that compiling more would not pay.
STRETCHES = 2


@jax.jit
@jax.vmap
def distances(attribution: Array, data: Split) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean KL and JS of the truth from one seed's attributions; examples without truth left out."""
    valid = data.inputs.valid
    shares = ground_truth.normalise(attribution, valid)
    truth = ground_truth.normalise(data.truth.astype(jnp.float32), valid)
    asked = jnp.any(data.truth, axis=-1)

    def mean(values: Array) -> Array:
        return jnp.sum(jnp.where(asked, values, 0.0)) / jnp.sum(asked)

    return mean(ground_truth.kl(truth, shares)), mean(ground_truth.js(truth, shares))


class Trained(NamedTuple):
    """Everything that was trained, and the data as the frozen models see it; all seeds at once."""

    keys: Array
    params: Any
    dev: Split
    clean: Clean
    dev_clean: Clean
    embedding: Any
    hidden: Any
    curves: dict[str, Any]


def train(seeds: list[int], setting: str, baseline: str, timer: Timer) -> Trained:
    """The counting models, then DiffMask on both of their states."""
    embedding_rates, hidden_rates, epochs = SETTINGS[setting]
    if baseline == "mean":
        embedding_rates = embedding_rates._replace(baseline=0.0)
    keys = setup.seed_keys(seeds)
    with timer.part("train the counting models"):
        data, dev = setup.make_data(seeds)
        reading = setup.reading_in_batches(data.inputs.valid, STRETCHES)
        params = jax.block_until_ready(
            setup.train_model(keys, data, setup.make_held_out(seeds), reading)
        )
    clean, dev_clean = setup.clean(params, data), setup.clean(params, dev)
    with timer.part("train DiffMask on the hidden state"):
        hidden, hidden_curves = setup.train_probe(keys, params, clean, HIDDEN, hidden_rates, epochs)
    with timer.part("train DiffMask on the embedding"):
        embedding, embedding_curves = setup.train_probe(
            keys, params, clean, EMBEDDING, embedding_rates, epochs
        )
    curves = {"hidden": hidden_curves, "embedding": embedding_curves}
    return Trained(keys, params, dev, clean, dev_clean, embedding, hidden, curves)


def attribute(trained: Trained, timer: Timer) -> dict[str, Float[Array, "S N T"]]:
    """Every method's attributions to the hidden state of the validation examples."""
    noise = methods.state_statistics(trained.clean, HIDDEN)
    reading = setup.reading(trained.dev.inputs.valid, STRETCHES)
    attributions = {}
    for name, method in methods.METHODS.items():
        with timer.part(f"attribute with {name}"):
            attributions[name] = jax.block_until_ready(
                methods.attribute(
                    method, trained.keys, trained.params, trained.dev_clean, noise, HIDDEN, reading
                )
            )
    with timer.part("attribute with diffmask"):
        keep = setup.keep_probability(trained.hidden, trained.dev_clean, HIDDEN)
        attributions["diffmask"] = jax.block_until_ready(keep)
    return attributions


def draw(
    trained: Trained,
    hidden: dict[str, Float[Array, "S N T"]],
    embedding_keep: Float[Array, "S N T"],
    folder: Path,
) -> None:
    """Figure 3: input attributions of one example, and DiffMask's at both states; Figure 11."""
    inputs, truth = jax.tree.map(lambda a: a[0], (trained.dev.inputs, trained.dev.truth))
    example = figures.choose_example(inputs, truth)
    seed, one = slice(0, 1), slice(example, example + 1)
    noise = methods.state_statistics(trained.clean, EMBEDDING)
    keys, params, noise = jax.tree.map(lambda a: a[seed], (trained.keys, trained.params, noise))
    clean = jax.tree.map(lambda a: a[seed, one], trained.dev_clean)
    rows = {
        NAMES[name]: methods.attribute(method, keys, params, clean, noise, EMBEDDING)[0, 0]
        for name, method in methods.METHODS.items()
    }
    rows["DiffMask, embedding"] = embedding_keep[0, example]
    rows["DiffMask, hidden state"] = hidden["diffmask"][0, example]
    figures.figure_3(folder / "figure3.png", inputs, example, rows)
    states = trained.dev_clean.states[HIDDEN][0]
    figures.figure_11(folder / "figure11.png", states, inputs.valid, truth)


def write_page(
    trained: Trained, embedding: Float[Array, "S N T"], hidden: Float[Array, "S N T"], file: Path
) -> None:
    """The first seed's page. embedding, hidden: DiffMask's attributions to the two states."""
    params, first, second, clean = jax.tree.map(
        lambda array: array[0],
        (trained.params, trained.embedding, trained.hidden, trained.dev_clean),
    )
    keep = jnp.stack([embedding[0], hidden[0]])
    pages.write_page(file, params, (first, second), clean, keep)


def run(seeds: list[int], setting: str, baseline: str, folder: Path) -> list[Claim]:
    """The whole experiment; writes the report and gives its claims."""
    timer = Timer()
    trained = train(seeds, setting, baseline, timer)
    attributions = attribute(trained, timer)
    embedding_keep = setup.keep_probability(trained.embedding, trained.dev_clean, EMBEDDING)
    with timer.part("draw the figures"):
        draw(trained, attributions, embedding_keep, folder)
    with timer.part("integrated gradients, from b"):
        moved = methods.from_learned_baseline(
            trained.params, trained.hidden, trained.dev_clean, HIDDEN
        )
        moved = [v.tolist() for v in distances(moved, trained.dev)]

    with timer.part("write the page"):
        write_page(trained, embedding_keep, attributions["diffmask"], folder / "page.html")

    accuracy = np.asarray(setup.accuracy(trained.params, trained.dev))
    table = {name: np.asarray(distances(a, trained.dev)) for name, a in attributions.items()}
    mean_keep = np.asarray(setup.mean_keep(embedding_keep, trained.dev.inputs.valid))
    claims = make_claims(accuracy, table, mean_keep)
    body = BODY.format(
        table=table_1(table),
        runs=len(seeds),
        baseline=BASELINE[baseline],
        kl=np.mean(moved[0]),
        js=np.mean(moved[1]),
    )
    raw = {
        "seeds": seeds,
        "accuracy": accuracy.tolist(),
        "table1": {name: {"kl": v[0].tolist(), "js": v[1].tolist()} for name, v in table.items()},
        "integrated_gradients_from_learned_baseline": {"kl": moved[0], "js": moved[1]},
        "setting": setting,
        "embedding_baseline": baseline,
        "embedding_keep": mean_keep.tolist(),
        "curves": jax.tree.map(lambda a: a.tolist(), trained.curves),
    }
    title = "Toy task: what does the counting model count?"
    write_report(folder, title, claims, timer.seconds, body=body, raw=raw)
    print(f"\nTable 1, mean ± standard deviation of {len(seeds)} seeds, in nats\n{table_1(table)}")
    print_claims(claims)
    print(f"all: {sum(timer.seconds.values()):.1f} s; report in {folder}/report.md")
    print(f"open {folder}/page.html: which digits the network still needs at each of its states")
    return claims


def main() -> None:
    """Reads the command line and runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (default 5)")
    parser.add_argument("--out", type=Path, default=Path("reports/toy"), help="report folder")
    parser.add_argument("--setting", choices=SETTINGS, default="ours", help="DiffMask's rates")
    parser.add_argument("--embedding-baseline", choices=["mean", "learned"], default="mean")
    arguments = parser.parse_args()
    with told_in_one_line("toy"):
        if arguments.seeds < 1:
            raise UserError(f"--seeds must be at least 1, got {arguments.seeds}")
        make_folder(arguments.out)
        seeds = list(range(arguments.seeds))
        run(seeds, arguments.setting, arguments.embedding_baseline, arguments.out)


if __name__ == "__main__":
    main()
