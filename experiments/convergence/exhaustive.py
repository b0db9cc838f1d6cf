r"""Is the solution unique? Every set of hidden states of short sentences, tried.

    python -m experiments.convergence.exhaustive --model ../shared/models/sst5-minilm \
        --raw-dir ../shared/data/sst [--data-dir tfds] [--recipe NAME] [--out reports/convergence]

It looks at what `python -m experiments.convergence --gate hidden` has played: the references, and
the seeds of a recipe. At the multipliers λ̄ that the first reference has come to, the loss of a
probe is what its thresholded gates keep, and λ̄ times what that costs. First on all development
sentences, each probe with its own baselines: where two of them keep other states, is one better?
Then on those of at most `--longest` word pieces, whose sets of states can all be tried, at that
reference's baselines: how far is its own set from the best one, how many sets are no worse, and how
far apart are those?

Only for the hidden probe, since an input gate is drawn from the votes of all layers below it. If it
is stopped and started again, it continues. Cost, small BERT above, on one core: 20 minutes.
"""

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis import faithfulness
from diffmask_jax.analysis.bootstrap import mean_interval
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.game.steps import TrainState
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.training import setup
from diffmask_jax.training.train import Prepared
from experiments.common.command import command, parser_of
from experiments.common.measuring import programs, split
from experiments.common.report import LAST_CALL, Timer, claim, print_claims, write_report
from experiments.common.resume import load_or_make
from experiments.common.tokens import joined
from experiments.convergence import exhaustive_report as report
from experiments.convergence import landscape, trial
from experiments.convergence.exhaustive_report import REFERENCE, SECOND, Played
from experiments.convergence.landscape import Place
from experiments.convergence.places import (
    add_places,
    config_of,
    prepared_for,
    reference_folder,
    trial_folder,
)
from experiments.convergence.recipe import RECIPES, Recipe

GATE = "hidden"
LONGEST = 11  # word pieces with [CLS] and [SEP]: 2048 sets a layer
MOST = 16  # word pieces
MOST_SEEDS = 3
BATCH = 32


@command("convergence.exhaustive")
def main() -> None:
    """Compare the probes that have been played, then try all sets, and report."""
    parser = parser_of("convergence.exhaustive", __doc__)
    add_places(parser)
    add = parser.add_argument
    add("--recipe", choices=tuple(RECIPES), default="recipe", help="whose seeds (default: recipe)")
    add(
        "--longest",
        type=int,
        default=LONGEST,
        help=f"word pieces of a sentence whose sets are all tried (default: {LONGEST})",
    )
    options = parser.parse_args()
    keep_compiled_programs()
    if not 1 <= options.longest <= MOST:
        raise UserError(f"--longest must be from 1 to {MOST}, not {options.longest}")
    study(options)


def study(options: argparse.Namespace) -> None:
    """Everything that the command does."""
    folder, timer = options.out / GATE, Timer()
    first = reference_folder(folder, 0)
    if not trial.marks_in(first):
        raise UserError(
            f"there is no reference in {first}: `python -m experiments.convergence --gate {GATE}` "
            "plays one"
        )
    prepared = prepared_for(options, GATE)
    short = [n for n, text in enumerate(prepared.texts.dev) if len(text.ids) <= options.longest]
    if not short:
        raise UserError(f"no sentence has at most {options.longest} word pieces: raise --longest")
    with timer.part("all sentences"):
        states = _states(options, prepared, folder)
        multipliers = np.exp(states[REFERENCE].dual.log)  # λ̄, which a batch moves little
        look = _looking(prepared, options)
        played = {name: look(state.probe.slow) for name, state in states.items()}
    with timer.part("all sets"):
        state = states[REFERENCE]
        baselines = state.probe.slow["baselines"]
        own = settings.digest(np.asarray(baseline).tobytes() for baseline in baselines)
        kept_in = folder / "exhaustive" / f"{own}-{options.longest}"
        found = _all_sets(prepared, short, baselines, kept_in)
    places = [
        [
            landscape.place(sets, float(multiplier), played[REFERENCE].kept[number][layer])
            for number, sets in zip(short, of_layer, strict=True)
        ]
        for layer, (of_layer, multiplier) in enumerate(zip(found, multipliers, strict=True))
    ]
    _report(options, prepared, multipliers, played, short, places, timer)


def _states(options: argparse.Namespace, prepared: Prepared, folder: Path) -> dict[str, TrainState]:
    """The last states of the seeds and of the references that have been played, by name."""
    recipe, config = RECIPES[options.recipe], config_of(options, GATE, 0)
    seeds = [(f"seed {n}", trial_folder(folder, options.recipe, n)) for n in range(MOST_SEEDS)]
    references = [(name, reference_folder(folder, n)) for n, name in enumerate((REFERENCE, SECOND))]
    return {
        name: trial.last_state(own, config, prepared, where)
        for own, places in ((recipe, seeds), (Recipe(), references))
        for name, where in places
        if trial.marks_in(where)
    }


def _looking(prepared: Prepared, options: argparse.Namespace) -> Callable[[Any], Played]:
    """(the parameters of a probe) -> what it keeps."""
    model, texts = prepared.model, prepared.texts.dev
    game = setup.make_game(config_of(options, GATE, 0), model.network, model.config.width)
    in_order = list(batches.in_order(texts, BATCH, model.config.positions))
    find, _, thresholded = programs(game)

    def look(probe: Any) -> Played:
        log_keep = [find(model.params, probe, batch.inputs) for batch in in_order]
        kept = joined(texts, in_order, log_keep) > np.log(0.5)
        of_batch = functools.partial(thresholded, model.params, probe)
        outcome = faithfulness.measure(of_batch, in_order, jax.random.key(0))
        return Played(split(texts, kept), np.asarray(outcome.divergence))

    return look


def _all_sets(
    prepared: Prepared, short: Sequence[int], baselines: Sequence[Any], folder: Path
) -> list[list[Float[np.ndarray, " S"]]]:
    """The divergences of all sets, by layer and sentence; those of a layer are kept in a file."""
    model, texts = prepared.model, [prepared.texts.dev[number] for number in short]
    longest = max(len(text.ids) for text in texts)
    clean_of = jax.jit(functools.partial(clean_pass, model.network))
    cleans = [clean_of(model.params, batches.pad([text], longest)) for text in texts]
    ends = np.cumsum([2 ** len(text.ids) for text in texts])

    def of_layer(layer: int, baseline: Any) -> dict[str, np.ndarray]:
        name = model.network.layers[layer]
        told = [
            landscape.divergences(
                model.network, model.params, clean, baseline, layer, len(text.ids)
            )
            for text, clean in zip(
                followed(texts, f"all sets at {name}", "sentences"), cleans, strict=True
            )
        ]
        return {"divergence": np.concatenate(told)}

    found = []
    for layer, baseline in enumerate(baselines):
        make = functools.partial(of_layer, layer, baseline)
        kept = load_or_make(folder / f"{layer}.npz", make)
        found.append(np.split(kept["divergence"], ends[:-1]))
    return found


def _report(
    options: argparse.Namespace,
    prepared: Prepared,
    multipliers: Float[np.ndarray, " L"],
    played: Mapping[str, Played],
    short: Sequence[int],
    places: Sequence[Sequence[Place]],
    timer: Timer,
) -> None:
    layers, folder = prepared.model.network.layers, options.out / GATE / "exhaustive"
    columns = {
        name: np.array([[getattr(one, name) for one in of_layer] for of_layer in places], float)
        for name in Place._fields
    }
    seeds = report.seeds_apart(played, short)
    pairs = report.pairs_of(played, multipliers)
    report.figure(folder / "exhaustive.png", layers, columns, seeds)
    claims = []
    if several := bool(np.isfinite(seeds).all()):
        more = mean_interval((columns["apart"] - seeds).mean(axis=0))
        claims.append(
            claim(
                "convergence.hidden.as_good_apart",
                "share of the states in which two sets that are no worse than the reference's "
                "differ, minus that in which two seeds do, not less than 0: the solution is not "
                "unique to within what separates seeds; 95% of resampled sentences: "
                f"{more.low:.3f} to {more.high:.3f}",
                [float(more.mean)],
                paper=None,
                unit="",
                holds=bool(more.low >= 0),
            )
        )
    all_of_them = len(prepared.texts.dev)
    parts = [
        f"## Two probes on all {all_of_them} sentences, means over the layers",
        "“loss”: by how much that of the first is larger; it is a share of the states.",
        report.pairs_table(pairs),
        f"## All sets of the {len(short)} sentences of at most {options.longest} word pieces",
        report.layers_table(layers, multipliers, columns, seeds),
        "![](exhaustive.png)",
    ]
    write_report(
        folder,
        "Every set of hidden states",
        claims,
        timer.seconds,
        body="\n\n".join([LAST_CALL, *parts]),
        raw={
            "multipliers": multipliers.tolist(),
            "recipe": options.recipe,
            "sentences": len(short),
            "pairs": [pair._asdict() for pair in pairs],
            "layers": {name: mean_interval(values.T) for name, values in columns.items()},
            "median as good": np.median(columns["as_good"], axis=1),
            "seeds apart": mean_interval(seeds.T) if several else None,
        },
    )
    print("\n\n".join(parts))
    print_claims(claims)
    print(f"report in {folder}/report.md")


if __name__ == "__main__":
    main()
