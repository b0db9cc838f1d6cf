"""`diffmask evaluate`: masked share, divergence, agreement and scores, layer by layer."""

import argparse
import json
import sys
from pathlib import Path

from diffmask_jax.commands.arguments import check_ending
from diffmask_jax.commands.shared import (
    COLUMNS,
    add_columns,
    add_moved,
    check_no_columns,
    columns_of,
)
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_writable, write_atomically

HELP = "masked share, divergence and scores by layer"


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    option = parser.add_argument
    option("run", type=Path, help="run folder made by `diffmask train`")
    option("--split", default="dev", help="of the data that the run is about (default: dev)")
    option("--texts", type=Path, help="evaluate on a file instead, with or without labels")
    add_columns(parser, *COLUMNS)
    add_moved(parser)
    option("--out", type=Path, help="JSON file (default: RUN/evaluation-SPLIT.json)")


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the tables, and write them as JSON and Markdown."""
    check_ending(options.out, ".json")
    if options.out:
        check_writable(options.out)
    if not options.texts:
        check_no_columns(options, "--texts")

    from diffmask_jax.explaining import evaluation
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.tasks.encoded_examples import gold_labels, read_file_for
    from diffmask_jax.training import setup

    explainer = Explainer.from_pretrained(options.run, options.model)
    model = explainer.model
    if options.texts:
        name = options.texts.name
        examples = read_file_for(model, options.texts, columns_of(options))
    else:
        name = options.split
        examples = setup.read_split(explainer.config, options.split)
    # A text is cut; a question that is too long with its passage is left out, as in the paper.
    data = setup.encode_split(model, name, examples, truncate=not model.head.spans)
    if options.label_column is None:
        try:
            gold_labels(model, data)
        except UserError as error:  # a column that nobody named may be about something else
            print(f"no scores against gold labels: {error}", file=sys.stderr)
            data = data._replace(gold=None)
    report = evaluation.evaluate(explainer, name, data, str(options.run))
    tables = evaluation.as_markdown(report)
    print(tables)
    out = options.out or options.run / f"evaluation-{name}.json"
    write_atomically(out, json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_atomically(out.with_suffix(".md"), tables + "\n")
    print(f"written to {out} and {out.with_suffix('.md').name}", file=sys.stderr)
