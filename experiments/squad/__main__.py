r"""The paper's results on SQuAD (section 3.3, Appendix D.2; Figures 2, 7, 8, 14), on a given BERT.

    python -m experiments.squad --model ../shared/models/squad-minilm \
        --raw-dir ../shared/data/squad --tags ../shared/data/pos/squad_dev.upos.jsonl \
        [--seeds 2] [--steps 8000] [--questions 1000] [--methods-on 200] [--out reports/squad]

If it is stopped and started again, it continues. Its cost depends on --steps (3 s of one core each
for a model of 6 blocks of width 384), --questions (2 s each) and --methods-on (20 s each, at 20
--method-steps). --no-training reports on the probes that exist, as far as they have come. The
paper's BERT-large: over 95% of the input masked in the upper layers while over 90% of starts and
ends stay; gold answers of wrongly answered questions kept about 60% of the time; questions kept
longer than passages; over half of the hidden states masked after layer 9 of 24; [SEP] kept at all
layers but the last.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffmask_jax.analysis.token_groups import layers_kept
from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.loading import load_answerer
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.files import make_folder
from diffmask_jax.runtime.json_files import jsonable
from diffmask_jax.runtime.memory import GIB, most_taken
from diffmask_jax.tasks.encoded_questions import LONGEST, told
from diffmask_jax.tasks.question_examples import questions_of
from diffmask_jax.tasks.question_tags import read_question_tags
from diffmask_jax.tasks.squad import SQUAD
from diffmask_jax.training.config import as_dict
from experiments.common.command import command, parser_of
from experiments.common.measuring import PerText
from experiments.common.probe_runs import configurations
from experiments.common.report import Claim, Timer, print_claims, write_report
from experiments.common.resume import check_model, check_texts
from experiments.squad import drawing, methods, numbers, parts_of_speech, pointing, report, stages
from experiments.squad.claims import Found, make_claims
from experiments.squad.methods import Counted
from experiments.squad.pointing import Figure2
from experiments.squad.report import About
from experiments.squad.stages import Answers
from experiments.squad.study import DRAW, Study, study_of

SETTINGS: dict[str, Any] = {"margin": methods.MARGIN, "batch_size": 16}
"""The settings of every probe, besides --steps and the defaults of `diffmask train squad`."""


def run(options: argparse.Namespace) -> list[Claim]:
    """Run the whole experiment, write the report and return its claims."""
    out, places = options.out, places_of(SQUAD, options)
    model = load_answerer(options.model)
    check_model(out, model)
    examples = SQUAD.read(places, "dev")
    whole = study_of(model, questions_of(examples))
    layers = model.network.layers
    tags = read_question_tags(options.tags, whole.questions) if options.tags else None
    study = whole.at(whole.sample(options.questions))
    place = out / "measured" / f"{len(study.questions)} questions"
    make_folder(place)
    check_texts(out / "measured", questions=whole.content())
    timer = Timer(place / "seconds.json")
    settings = {gate: SETTINGS | {"steps": options.steps} for gate in GATES}
    configs = configurations(
        whole.model.path, SQUAD.name, asdict(places), settings, options.seeds, out
    )
    if not options.no_training:
        with timer.part("train the probes"):
            stages.train_all(configs)
    folders = {gate: runs for gate in GATES if (runs := stages.kept(configs, gate))}
    with timer.part("answers of the model"):
        answers = stages.answers(study, place / "unmasked.npz")
    tagged = None if tags is None else [tags[number] for number in study.numbers]
    measured, by_gate = {}, {}
    for gate, runs in folders.items():
        with timer.part(f"measure the {gate} probes"):
            of_gate = measured[gate] = stages.measure(study, runs, place)
            by_gate[gate] = numbers.of_gate(
                study, of_gate.keep(), of_gate.sampled, answers, tagged, of_gate.deviations()
            )
    inputs = measured.get("input")
    with timer.part("other methods"):
        keep = None if inputs is None else inputs.keep()
        counted = methods.on_many(options.method_steps)
        figure2 = count_methods(study, answers, keep, whole, counted, options)
    with timer.part("draw the figures"):
        drawing.draw(out, layers, methods.MARGIN, by_gate, measured)
        if inputs is not None and figure2 is not None:
            drawing.draw_methods(out, whole, methods.ON_EXAMPLE, inputs)
    nouns = None if tags is None else parts_of_speech.nouns(whole, tags)
    scores = numbers.scores(study, answers)
    found = Found(layers, scores, by_gate, nouns, figure2, len(study.questions))
    about = About(
        about_questions(study, whole, options.methods_on),
        [*examples.notes, *told(whole.data.counts, min(LONGEST, whole.model.config.positions))],
        [stages.settled(run) for runs in folders.values() for run in runs],
        [gate for gate in GATES if gate not in folders],
        counted,
    )
    raw = {
        "settings": {folder.name: as_dict(config) for folder, config in configs.items()},
        "runs": about.runs,
        "questions": [question.id for question in study.questions],
        "counts": whole.data.counts._asdict(),
        "peak_bytes": most_taken(),
        **jsonable(found._asdict()),
        "validation": {gate: each.curves() for gate, each in measured.items()},
    }
    return publish(out, found, about, timer, raw)


def publish(
    out: Path, found: Found, about: About, timer: Timer, raw: dict[str, Any]
) -> list[Claim]:
    """Write the report, and print its claims."""
    claims, body = make_claims(found, about.counted), report.body(found, about)
    write_report(out, "Questions: BERT on SQuAD", claims, timer.seconds, body=body, raw=raw)
    print_claims(claims)
    for gate in about.not_run:
        print(report.not_run(gate))
    print(f"report in {out}/report.md")
    return claims


def about_questions(study: Study, whole: Study, methods_on: int) -> str:
    """Which questions are measured, and the memory that it takes, in words."""
    measured = len(study.questions)
    counted = f", but for Figure 2, counted on {min(methods_on, measured)} of them" * bool(
        methods_on
    )
    return (
        f"{measured} of {len(whole.questions)} development questions, drawn by chance (seed "
        f"{DRAW}): what follows is of these{counted}; the nouns in answers are of all. "
        f"Times add up over the calls that it took. Most memory: {most_taken() / GIB:.1f} GiB."
    )


def count_methods(
    study: Study,
    answers: Answers,
    keep: PerText | None,
    whole: Study,
    counted: Mapping[str, Counted],
    options: argparse.Namespace,
) -> Figure2 | None:
    """Where every method points, over some of the questions; None if --methods-on is 0.

    keep: the keep probabilities of all the study's questions by the input probes, if there are any
    whole: as in `drawing.draw_methods`
    counted: the other methods
    """
    drawn, place = set(whole.sample(options.methods_on)), options.out / "measured"
    chosen = [at for at, number in enumerate(study.numbers) if number in drawn]
    if not chosen:
        return None
    some, words = study.at(chosen), stages.statistics_of_words(whole, place / "words.npz")
    found = {} if keep is None else {"diffmask": [layers_kept(keep[at]) for at in chosen]}
    for name, method in counted.items():
        folder = place / "methods" / f"{name}, {method.told}"
        found[name] = stages.attributions(some, method, words, folder)
    return pointing.figure2(some, Answers(*(array[chosen] for array in answers)), found)


@command("squad")
def main() -> None:
    """Read the command line and run the experiment."""
    parser = parser_of("squad", __doc__)
    add = parser.add_argument
    add("--model", required=True, help="an encoder that answers questions")
    add_settings(parser, SQUAD.places)
    add("--tags", type=Path, help="parts of speech of the dev questions, JSON lines")
    add("--seeds", type=int, default=2, help="runs of each probe (default: 2)")
    add("--steps", type=int, default=8000, help="steps of each run, at most (default: 8000)")
    add(
        "--no-training",
        action="store_true",
        help="report on the probes that exist, as far as they are trained",
    )
    add("--questions", type=int, default=1000, help="dev questions to measure (default: 1000)")
    add(
        "--methods-on",
        type=int,
        default=200,
        help="those to measure other methods on (default: 200)",
    )
    add(
        "--method-steps",
        type=int,
        default=methods.FEW,
        help="steps of the iterative ones there; Figure 2's example has always 500 (default: 20)",
    )
    add("--out", type=Path, default=Path("reports/squad"), help="report folder")
    options = parser.parse_args()
    keep_compiled_programs()
    if min(options.seeds, options.questions, options.method_steps) < 1 or options.methods_on < 0:
        raise UserError(
            "--seeds, --questions and --method-steps must be at least 1, --methods-on at least 0"
        )
    run(options)


if __name__ == "__main__":
    main()
