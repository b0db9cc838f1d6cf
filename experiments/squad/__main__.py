"""What the paper says of BERT on SQuAD (section 3.3, Appendix D.2; Figures 2, 7, 8, 14).

    python -m experiments.squad --model ../shared/models/squad-minilm \
        --raw-dir ../shared/data/squad --tags ../shared/data/pos/squad_dev.upos.jsonl \
        [--seeds 2] [--questions 1000] [--methods-on 200] [--out reports/squad]

Stopped and started again, it goes on where it was. The paper's BERT-large: over 95% of the input
masked in the upper layers while over 90% of starts and ends stay; gold answers of wrongly answered
questions kept about 60% of the time; questions kept longer than passages; over half of the hidden
states masked after layer 9 of 24; [SEP] kept at all layers but the last.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis.token_groups import layers_kept
from diffmask_jax.analysis.top_tokens import TopShares
from diffmask_jax.attribution import methods
from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import comparing
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.loading import load_answerer
from diffmask_jax.render import html
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.json_files import jsonable
from diffmask_jax.tasks.encoded_questions import LONGEST, told
from diffmask_jax.tasks.question_tags import read_question_tags
from diffmask_jax.tasks.questions import places_of as places_in
from diffmask_jax.tasks.scoring import span_scores
from diffmask_jax.tasks.squad import SQUAD
from diffmask_jax.training.config import as_dict
from experiments.common.command import told_in_one_line
from experiments.common.probe_runs import configurations, run_folder
from experiments.common.report import Claim, Timer, print_claims, write_report
from experiments.common.resume import check_settings, make_folder
from experiments.squad import figures, numbers, report, stages
from experiments.squad.report import Found
from experiments.squad.stages import Answers, Measured, Study
from experiments.sst.figures import token_groups_figure, training_figure

QUESTION = "Where did the Broncos practice for the Super Bowl ?"
PASSAGE = (
    "The Panthers used the San Jose State practice facility and stayed at the San Jose Marriott . "
    "The Broncos practiced at Stanford University and stayed at the Santa Clara Marriott ."
)
ANSWER = "Stanford University"
METHODS = tuple(methods.with_margin(1.0))
# Beside the defaults of `diffmask train squad`.
SETTINGS: dict[str, dict[str, Any]] = {
    "input": {"margin": 1.0, "batch_size": 16},
    "hidden": {"margin": 1.0, "batch_size": 16},
}


def run(options: argparse.Namespace) -> list[Claim]:
    """The whole experiment; writes the report and gives its claims."""
    out = options.out
    places = places_of(SQUAD, options)
    whole = stages.open_study(load_answerer(options.model), places, out)
    tags = read_question_tags(options.tags, whole.questions) if options.tags else None
    chosen = whole.places(options.questions).tolist()
    study = whole.at(chosen)
    configs = configurations(
        whole.model.path, SQUAD.name, asdict(places), SETTINGS, options.seeds, out
    )
    timer = Timer()
    with timer.part("train the probes"):
        stages.train_all(configs)
    with timer.part("answers of the model"):
        answers = stages.answers(whole, out / "measured" / "answers.npz")
    own = Answers(*(array[chosen] for array in answers))
    tagged = None if tags is None else [tags[place] for place in chosen]
    by_gate, measured = {}, {}
    for gate in GATES:
        with timer.part(f"measure the {gate} probes"):
            folders = [run_folder(out, gate, seed) for seed in range(options.seeds)]
            runs = stages.measure(study, folders)
            outcomes = runs.sampled, runs.thresholded
            by_gate[gate] = numbers.of_gate(study, runs.keep(), outcomes, own, tagged)
            measured[gate] = runs
    with timer.part("other methods"):
        shares = figure2(study, own, measured["input"], options.methods_on)
    with timer.part("draw the figures"):
        draw(out, whole.model.network.layers, by_gate, measured)
    found = Found(
        whole.model.network.layers,
        span_scores(whole.data.encoded, whole.questions, answers.spans),
        by_gate,
        None if tags is None else numbers.nouns(whole, tags),
        shares,
    )
    claims = report.make_claims(found)
    limit = min(LONGEST, whole.model.config.positions)
    about = (
        f"{len(whole.questions)} development questions answered; {len(chosen)} of them, evenly "
        f"spaced, explained; other methods on {min(options.methods_on, len(chosen))}."
    )
    body = report.body(found, told(whole.data.counts, limit), about)
    raw = {
        "settings": {folder.name: as_dict(config) for folder, config in configs.items()},
        "counts": whole.data.counts._asdict(),
        "scores": found.scores._asdict(),
        "nouns": None if found.nouns is None else found.nouns._asdict(),
        "figure2": {name: each._asdict() for name, each in shares.items()},
        "by_gate": jsonable(by_gate),
        "validation": {gate: each.curves() for gate, each in measured.items()},
    }
    write_report(out, "Questions: BERT on SQuAD", claims, timer.seconds, body=body, raw=raw)
    print_claims(claims)
    print(f"report in {out}/report.md")
    return claims


def figure2(study: Study, answers: Answers, measured: Measured, count: int) -> dict[str, TopShares]:
    """Where every method points, over some of the questions; and a picture of the paper's."""
    if not count:
        return {}
    chosen = study.places(count).tolist()
    some = study.at(chosen)
    explainer, folder = measured.explainers[0], measured.folders[0]
    noise = comparing.noise_of(folder, explainer)
    place = study.folder / "measured" / "methods"
    keep = measured.keep()
    found = {"diffmask": [layers_kept(keep[at]) for at in chosen]} | {
        name: stages.attributions(some, explainer, noise, name, place / name) for name in METHODS
    }
    own = Answers(*(array[chosen] for array in answers))
    compared = comparing.compare([explainer], noise, (QUESTION, PASSAGE), names=METHODS)
    by_name: dict[str, Float[np.ndarray, " T"]] = {
        panel.name: panel.values[0] for panel in compared.panels[1:-1]
    }
    by_name["DiffMask, Σ over layers"] = layers_kept(compared.panels[-1].values)
    figures.methods_figure(study.folder / "figure2.png", example(explainer), by_name)
    return numbers.figure2(some, own, found)


def example(explainer: Explainer) -> Explanation:
    """The paper's question, explained."""
    explanation = explainer(question=QUESTION, passage=PASSAGE)
    return explanation.with_gold(places_in(ANSWER, PASSAGE))


def draw(
    out: Path,
    layers: tuple[str, ...],
    by_gate: dict[str, numbers.OfGate],
    measured: dict[str, Measured],
) -> None:
    """Figures 7, 8 and 14, and how training went."""
    names = {gate: GATES[gate].masks for gate in by_gate}
    kept = {names[gate]: each.kept for gate, each in by_gate.items()}
    figures.kept_figure(out / "figure7.png", layers, kept)
    shares = {}
    for gate, each in by_gate.items():
        fields = {
            "masked": "masked",
            "positions_kept": "positions kept",
            "spans_kept": "spans kept",
        }
        shares[names[gate]] = {
            label: np.mean([getattr(run, field) for run in each.sampled], axis=0).tolist()
            for field, label in fields.items()
        }
    figures.faithful_figure(out / "faithful.png", layers, shares)
    for gate, each in by_gate.items():
        explanation = example(measured[gate].explainers[0])
        explanation.save(out / f"figure8_{gate}.png")
        page = html.page([explanation.heatmap()], QUESTION)
        write_atomically(out / f"figure8_{gate}.html", page)
        title, margin = f"Training the {gate} probe, validation", SETTINGS[gate]["margin"]
        training_figure(out / f"training_{gate}.png", title, measured[gate].curves(), margin)
        if each.tagged:
            token_groups_figure(
                out / f"figure14_{gate}.png",
                f"How long tokens are kept, by part of speech: {names[gate]}",
                f"layers that keep a token, of {len(layers)}",
                each.tagged,
                len(layers),
            )


def main() -> None:
    """Reads the command line and runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", required=True, help="an encoder that answers questions")
    add_settings(parser, SQUAD.places)
    add("--tags", type=Path, help="parts of speech of the dev questions, JSON lines")
    add("--seeds", type=int, default=2, help="runs of each probe (default 2)")
    add("--questions", type=int, default=1000, help="dev questions explained (default 1000)")
    add("--methods-on", type=int, default=200, help="those on which others are (default 200)")
    add("--out", type=Path, default=Path("reports/squad"), help="report folder")
    options = parser.parse_args()
    keep_compiled_programs()
    with told_in_one_line("squad"):
        if min(options.seeds, options.questions) < 1 or options.methods_on < 0:
            raise UserError("--seeds and --questions are 1 or more, --methods-on 0 or more")
        make_folder(options.out)
        of_files = {
            "model": options.model,
            "questions": options.questions,
            "methods_on": options.methods_on,
        }
        check_settings(options.out, of_files)
        run(options)


if __name__ == "__main__":
    main()
