"""`diffmask report`: what a probe says of a data set, as a page and as numbers."""

import argparse
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
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.runtime.messages import say, show

HELP = "a page on a data set: is the probe good, and which words are kept"


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    option = parser.add_argument
    option("run", type=Path, help="run folder made by `diffmask train`")
    option("--split", default="dev", help="of the data that the run is about (default: dev)")
    option("--texts", type=Path, help="report on a file instead, with or without labels")
    add_columns(parser, *COLUMNS)
    add_moved(parser)
    option(
        "--tags",
        type=Path,
        help='parts of speech, a line of {"words": […], "upos": […]} for every text, whose words '
        "are what stands between its blanks",
    )
    option(
        "--against",
        type=int,
        default=0,
        metavar="N",
        help="compare the probe's faithfulness with that of other methods on N of the texts; each "
        "takes as long as some hundred texts otherwise do (default: 0)",
    )
    option("--out", type=Path, help="HTML file, JSON beside it (default: RUN/report-SPLIT.html)")


def run(options: argparse.Namespace) -> None:
    """Survey the texts, write the page and the numbers, print the verdict."""
    check_ending(options.out, ".html")
    if options.out:
        check_writable(options.out)
    if not options.texts:
        check_no_columns(options, "--texts")
    if options.against < 0:
        raise UserError(f"--against is a number of texts, not {options.against}")

    from diffmask_jax.explaining import report, report_page
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.explaining.reporting import report_on
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
            say(f"no scores against gold labels: {error}")
            data = data._replace(gold=None)
    made, survey = report_on(
        explainer, options.run, name, data, tags=options.tags, against=options.against
    )
    show(report.as_text(made))
    out = options.out or options.run / f"report-{name}.html"
    numbers = dumps(report.as_json(made), indent=1, plain=False)
    write_atomically(out, report_page.page(made, survey, data.examples.rows))
    write_atomically(out.with_suffix(".json"), numbers + "\n")
    say(f"written to {out} and {out.with_suffix('.json').name}")
