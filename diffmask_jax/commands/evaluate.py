"""`diffmask evaluate`: masked share, divergence, agreement and scores, layer by layer."""

import argparse

from diffmask_jax.commands.arguments import check_ending, path_of
from diffmask_jax.commands.shared import (
    add_data,
    check_data,
    data_of,
    give_results,
    result_files,
    say_begins,
)
from diffmask_jax.runtime.files import check_writable
from diffmask_jax.runtime.json_files import dumps

HELP = "measure masked share, divergence and scores by layer"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_data(parser, "evaluate on a file instead, labelled or not (questions: .jsonl)")
    parser.add_argument(
        "--out",
        type=path_of,
        help="JSON file (default: RUN/evaluation-SPLIT.json); the same tables as Markdown go next "
        "to it (.md)",
    )


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the tables, and write them as JSON and Markdown."""
    check_ending(options.out, ".json")
    if options.out:
        check_writable(options.out)
    check_data(options)

    from diffmask_jax.explaining import evaluation
    from diffmask_jax.explaining.explainer import Explainer

    explainer = Explainer.from_pretrained(options.run, options.model, anyway=options.anyway)
    name, data, gold = data_of(options, explainer)
    numbers, words = result_files(options, explainer, f"evaluation-{name}.json", ".json", ".md")
    say_begins(explainer, data.encoded)
    report = evaluation.evaluate(explainer, name, data, gold, str(options.run))
    tables = evaluation.as_markdown(report)
    texts = {numbers: dumps(report, indent=1) + "\n", words: tables + "\n"}
    give_results(options, tables, texts)
