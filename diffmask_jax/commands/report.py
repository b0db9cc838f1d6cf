"""`diffmask report`: a probe on a data set, as a page and as numbers."""

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
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_writable
from diffmask_jax.runtime.json_files import dumps

HELP = "write a page about a data set: whether the probe is good, and which words it keeps"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    option = parser.add_argument
    add_data(parser, "report on a file instead, labelled or not (questions: .jsonl)")
    option(
        "--tags",
        type=path_of,
        help='parts of speech: one line {"words": […], "upos": […]} per text, whose words are '
        "separated by blanks",
    )
    option(
        "--against",
        type=int,
        default=0,
        metavar="N",
        help="compare the probe's faithfulness with that of other methods on N of the texts, each "
        "of which takes as long as two hundred texts otherwise (default: 0)",
    )
    option(
        "--out",
        type=path_of,
        help="HTML file; the JSON file goes next to it (default: RUN/report-SPLIT.html)",
    )


def run(options: argparse.Namespace) -> None:
    """Survey the texts, write the page and the numbers, print the verdict."""
    check_ending(options.out, ".html")
    if options.out:
        check_writable(options.out)
    check_data(options)
    if options.against < 0:
        raise UserError(f"--against is a number of texts, not {options.against}")

    from diffmask_jax.explaining import report, report_page
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.explaining.reporting import report_on

    explainer = Explainer.from_pretrained(options.run, options.model, anyway=options.anyway)
    name, data, gold = data_of(options, explainer)
    page, numbers = result_files(options, explainer, f"report-{name}.html", ".html", ".json")
    say_begins(explainer, data.encoded)
    made, survey = report_on(
        explainer, options.run, name, data, gold, tags=options.tags, against=options.against
    )
    drawn = report_page.page(made, survey, data.examples.rows)
    plain = dumps(report.as_json(made), indent=1, plain=False)
    texts = {page: drawn, numbers: plain + "\n"}
    give_results(options, report.as_text(made), texts)
