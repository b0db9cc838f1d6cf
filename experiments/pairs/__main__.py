r"""A pair classifier, made and explained: does a sentence of SQuAD's passages answer a question?

    python -m experiments.pairs --model ../shared/models/sst5-minilm \
        --squad-dir ../shared/data/squad [--out reports/pairs]

An encoder, with whatever head, is fine-tuned on pairs of a question and a sentence, half of which
contain the answer; an input probe is trained on it; a page and a picture show some pairs. If it is
stopped and started again, it continues. Cost, small BERT above: an hour on two busy CPU cores. The
paper has no pairs: its question answering reads a whole passage.
"""

import argparse
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.explaining import evaluation, presenting
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.models.loading import load_encoder
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.tasks.encoded_examples import encode_examples, gold_labels
from diffmask_jax.tasks.files import read_file
from diffmask_jax.tasks.task import Examples
from diffmask_jax.training import setup
from diffmask_jax.training.classifier import Labelled, finetune
from diffmask_jax.training.config import run_config
from diffmask_jax.training.train import train
from experiments.common.command import command, parser_of
from experiments.common.report import Claim, Timer, claim, print_claims, write_report
from experiments.pairs.data import LABELS, write_pairs

SQUAD = {"train": "train-v1.1.first44.json", "dev": "dev-v1.1.json"}
SHOWN = 12  # pairs on the page


@command("pairs")
def main() -> None:
    """Read the command line, and make the pairs, the classifier, the probe and the report."""
    parser = parser_of("pairs", __doc__)
    add = parser.add_argument
    add("--model", required=True, help="folder or hub id of an encoder")
    add("--squad-dir", required=True, type=Path, help=f"folder with {' and '.join(SQUAD.values())}")
    add("--out", type=Path, default=Path("reports/pairs"), help="folder for all results")
    add("--train-pairs", type=int, default=12000, help="pairs to train on (default: 12000)")
    add("--dev-pairs", type=int, default=2000, help="pairs to measure on (default: 2000)")
    add("--epochs", type=int, default=2, help="epochs of fine-tuning (default: 2)")
    add("--steps", type=int, default=4000, help="steps of the probe, at most (default: 4000)")
    options = parser.parse_args()
    keep_compiled_programs()
    study(options)


def study(options: argparse.Namespace) -> None:
    """Run all parts that are not done yet."""
    timer = Timer()
    files = {split: options.out / f"{split}.jsonl" for split in SQUAD}
    for split, most in (("train", options.train_pairs), ("dev", options.dev_pairs)):
        write_pairs(options.squad_dir / SQUAD[split], files[split], most)
    with timer.part("fine-tuning"):
        scores = make_classifier(options, files)
    model = options.out / "model"
    config = run_config(
        model.resolve(),
        "texts",
        train=str(files["train"].resolve()),
        dev=str(files["dev"].resolve()),
        steps=options.steps,
    )
    run = options.out / "probe"
    with timer.part("probe"):
        kept = train(config, run, truncate=True)
    with timer.part("evaluation"):
        explainer = Explainer.from_pretrained(run)
        examples = setup.read_split(config, "dev")
        encoded = encode_examples(explainer.model, examples, truncate=True)
        gold = gold_labels(explainer.model, encoded)
        report = evaluation.evaluate(explainer, "dev", encoded, gold, str(run))
    with timer.part("page"):
        draw(explainer, examples, options.out)
    claims = make_claims(scores, report)
    write_report(
        options.out,
        "Pairs: does this sentence answer the question?",
        claims,
        timer.seconds,
        body=evaluation.as_markdown(report),
        raw={"finetuning": scores, "kept": kept, "evaluation": report},
    )
    print_claims(claims)
    print(f"report in {options.out}/report.md")


def make_classifier(options: argparse.Namespace, files: dict[str, Path]) -> dict[str, int | float]:
    """Fine-tune the encoder on the pairs, if that is not done; returns the kept epoch's scores."""
    encoder = load_encoder(options.model, LABELS)
    splits = {split: read_file(file) for split, file in files.items()}
    data = {split: _labelled(encoder, examples) for split, examples in splits.items()}
    recipe = Recipe(epochs=options.epochs, encoder_rate=1e-4, head_rate=1e-3)
    return finetune(encoder, data["train"], data["dev"], recipe, options.out / "model")


def _labelled(encoder, examples: Examples) -> Labelled:  # type: ignore[no-untyped-def]
    encoded = encode_examples(encoder, examples, truncate=True)
    gold = gold_labels(encoder, encoded)
    if gold is None:
        raise UserError("the pairs have no labels")
    return Labelled(encoded.encoded, gold)


def draw(explainer: Explainer, examples: Examples, out: Path) -> None:
    """Draw a page of the first pairs, and a picture of the first pair with the answer."""
    second = examples.second and examples.second[:SHOWN]
    first = Examples(examples.first[:SHOWN], second, None, examples.rows[:SHOWN])
    explanations = explainer(first.texts, truncate=True)
    explained = list(zip(first.rows, explanations, strict=True))
    files = out / "pairs.html", out / "pairs.jsonl"
    presenting.write_files(lambda done: explained, "pairs", None, *files)
    answering = [e for e in explanations if e.prediction == LABELS[1]] or explanations
    answering[0].save(out / "pair.png")


def make_claims(scores: dict[str, int | float], report: dict) -> list[Claim]:
    """The scores of the classifier and of its probe; means over all layers."""
    mean, top = report["thresholded"][-1], report["thresholded"][-2]
    values = [
        ("pairs.accuracy", "accuracy of the classifier on dev", scores["accuracy"], 0.75),
        ("pairs.masked", "input masked, last layer, gates > ½", top["masked"], 0.4),
        ("pairs.agreement", "predictions kept, mean over layers", mean["agreement"], 0.75),
    ]
    return [
        claim(name, f"{says} ≥ {bar:g}", [value], paper=None, unit="", holds=value >= bar)
        for name, says, value, bar in values
    ]


if __name__ == "__main__":
    main()
