r"""The paper's results on SST (section 3.2, Figures 4, 5 and 6), on a given BERT.

    python -m experiments.sst --model ../shared/models/sst5-minilm --raw-dir ../shared/data/sst \
        --tags ../shared/data/pos/sst_dev.upos.jsonl [--seeds 5] [--out reports/sst]

Cost, small BERT above, on one core: 12 minutes per hidden run and 20 per input run, 50 for the
rest. If it is stopped and started again, it continues. The paper's BERT-base: macro-F1 37.9 → 38.3
with 46.3% of the input masked, → 38.9 with 67.6% of the hidden states; standard deviation over 5
seeds 0.05 and 0.03; [CLS]'s last state has the largest hidden attribution in 99% of sentences
(Schulz et al. 71%).
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffmask_jax.attribution.methods import IN_THE_PAPER
from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import comparing
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.render import comparison_html, comparison_picture
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.files import make_folder, write_atomically
from diffmask_jax.tasks import tags as parts_of_speech
from diffmask_jax.tasks.sst import SST
from diffmask_jax.training.config import as_dict
from experiments.common.command import command, parser_of
from experiments.common.probe_figures import token_groups_figure, training_figure
from experiments.common.probe_runs import configurations, folder_of
from experiments.common.report import Claim, Timer, print_claims, write_report
from experiments.sst import numbers as sst_numbers
from experiments.sst import report, stages
from experiments.sst.stages import Measured, Study

Tags = list[tuple[str, ...]]

SENTENCE = "A fast , funny , highly enjoyable movie ."
# Besides the defaults of `diffmask train sst`; docs/results.md says what else was tried.
SETTINGS: dict[str, dict[str, Any]] = {
    "input": {"margin": 0.1, "steps": 2400},
    "hidden": {"margin": 0.05, "steps": 2400},
}


def compare(study: Study, by_gate: dict[str, Measured]) -> None:
    """Draw Figure 6, as a picture and as a page."""
    explainers = [measured.explainers[0] for measured in by_gate.values()]
    noise = comparing.noise_of(by_gate["input"].folders[0], explainers[0])
    comparison = comparing.compare(explainers, noise, SENTENCE, names=IN_THE_PAPER)
    comparison_picture.write_picture(comparison, study.folder / "figure6.png")
    write_atomically(study.folder / "figure6.html", comparison_html.page(comparison))


def draw_groups(study: Study, by_gate: dict[str, Measured], tagged: Tags | None) -> dict[str, Any]:
    """Draw Figures 4 and 5, the latter if there are tags; returns their numbers."""
    layers = len(study.model.network.layers)
    depths = {GATES[gate].masks: measured.layers_kept() for gate, measured in by_gate.items()}
    figures = {"figure4": {n: sst_numbers.by_label(study, v) for n, v in depths.items()}}
    if tagged:
        figures["figure5"] = {n: sst_numbers.by_tag(study, v, tagged) for n, v in depths.items()}
    for file, title in (("figure4", "their sentiment"), ("figure5", "part of speech")):
        if file in figures:
            token_groups_figure(
                study.folder / f"{file}.png",
                f"How long tokens are kept, by {title}",
                f"layers that keep a token, of {layers}",
                figures[file],
                layers,
            )
    return {
        file: {name: [group._asdict() for group in groups] for name, groups in panels.items()}
        for file, panels in figures.items()
    }


def run(options: argparse.Namespace) -> list[Claim]:
    """Run the whole experiment, write the report and return its claims."""
    out, seeds = options.out, options.seeds
    places = places_of(SST, options)
    model = load_classifier(options.model)
    study, test = stages.open_splits(model, places, out)
    tagged = _tags(options, study)
    configs = configurations(study.model.path, SST.name, asdict(places), SETTINGS, seeds, out)
    timer = Timer()
    with timer.part("train the probes"):
        stages.train_all(configs, study.model)
    with timer.part("measure the probes"):
        by_gate = {
            gate: stages.measure(study, test, [folder_of(out, gate, n) for n in range(seeds)])
            for gate in GATES
        }
        explainer, folder = by_gate["input"].explainers[0], by_gate["input"].folders[0]
        probabilities = stages.probabilities(study, out / "measured" / "model.npz")
    with timer.part("Schulz et al."):
        labels = {"predicted": probabilities.argmax(axis=1), "gold": study.labels}
        some = study.sample(options.schulz_sentences)
        schulz = stages.schulz_of(
            study, some, labels, explainer, comparing.noise_of(folder, explainer)
        )
    with timer.part("draw the figures"):
        groups = draw_groups(study, by_gate, tagged)
        compare(study, by_gate)
        for gate, measured in by_gate.items():
            training_figure(
                out / f"training_{gate}.png",
                f"Training the {gate} probe, validation",
                measured.curves(),
                SETTINGS[gate]["margin"],
            )

    numbers = sst_numbers.numbers(study, test, by_gate, schulz, probabilities)
    claims = report.make_claims(numbers, seeds)
    raw = {
        "settings": {folder.name: as_dict(c) for folder, c in configs.items()},
        **sst_numbers.as_json(numbers),
        "gold": {s: sst_numbers.digits(of.labels) for s, of in (("dev", study), ("test", test))},
        "settled": {gate: measured.settled() for gate, measured in by_gate.items()},
        **groups,
        "validation": {gate: measured.curves() for gate, measured in by_gate.items()},
    }
    body = report.body(numbers, study.model.network.layers, bool(tagged))
    write_report(out, "Sentiment: BERT on SST", claims, timer.seconds, body=body, raw=raw)
    print_claims(claims)
    print(f"report in {out}/report.md")
    return claims


def _tags(options: argparse.Namespace, study: Study) -> Tags | None:
    """Parts of speech from a file, or by spaCy, or none."""
    if options.tags:
        return parts_of_speech.read_tags(options.tags, study.sentences)
    return parts_of_speech.tag(study.sentences, options.spacy) if options.spacy else None


@command("sst")
def main() -> None:
    """Read the command line and run the experiment."""
    parser = parser_of("sst", __doc__)
    parser.add_argument("--model", required=True, help="BERT fine-tuned on SST, five classes")
    add_settings(parser, SST.places)
    tags = parser.add_mutually_exclusive_group()
    tags.add_argument("--tags", type=Path, help="parts of speech of the dev sentences, JSON lines")
    tags.add_argument("--spacy", metavar="MODEL", help="tag with a spaCy model instead")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each probe (default: 5)")
    parser.add_argument(
        "--schulz-sentences",
        type=int,
        default=128,
        help="sentences for Schulz et al. at all states, evenly spaced (default: 128)",
    )
    parser.add_argument("--out", type=Path, default=Path("reports/sst"), help="report folder")
    options = parser.parse_args()
    keep_compiled_programs()
    if options.seeds < 2:
        raise UserError("--seeds must be at least 2: stability is measured across seeds")
    if options.schulz_sentences < 1:
        raise UserError("--schulz-sentences must be at least 1")
    make_folder(options.out)
    run(options)


if __name__ == "__main__":
    main()
