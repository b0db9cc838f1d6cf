"""`diffmask compare`: several methods on one text, or their faithfulness on many."""

import argparse
import textwrap

from diffmask_jax.commands.arguments import check_ending, name_of, path_of
from diffmask_jax.commands.shared import (
    add_columns,
    add_moved,
    add_picture,
    add_question,
    add_truncate,
    check_files,
    check_no_columns,
    check_spared,
    columns_of,
    give,
    question_of,
    say_begins,
)
from diffmask_jax.data.texts import Text
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_all_writable, write_atomically
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.runtime.messages import say

WIDTH = 80  # columns of running text

HELP = "draw several methods' attributions for one text, or measure their faithfulness on many"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    option = parser.add_argument
    option(
        "runs",
        nargs="+",
        type=path_of,
        help="run folders of the same model's probes: input, hidden or both",
    )
    option("--text", help="the text to explain")
    option("--pair", metavar="SECOND", help="second text of a pair; the first is --text")
    add_question(parser)
    option(
        "--methods",
        type=name_of,
        metavar="NAME,…",
        help="methods to draw besides attention and the runs' probes: gradient, "
        "integrated_gradients, schulz, guan, erasure, leave_one_out, per_example (default: "
        "the first four)",
    )
    add_moved(parser)
    add_truncate(parser)
    option("--html", type=path_of, help="write a standalone HTML page")
    add_picture(parser, "the panels")
    option(
        "--texts",
        type=path_of,
        metavar="FILE",
        help="instead of drawing, print a table of how faithful the probe, integrated gradients, "
        "leave-one-out, attention and random orders are on these texts, each dropping as many "
        "tokens as the probe does",
    )
    add_columns(parser, "text", "pair")
    option("--json", type=path_of, metavar="OUT", help="also write that table's numbers")


def run(options: argparse.Namespace) -> None:
    """Compare, and write or print the requested results."""
    if options.texts:
        return _tell(options)
    check_no_columns(options, "--texts")
    if options.json:
        raise UserError("--json is for the table on many texts: pass --texts FILE, too")
    _draw(options)


def _tell(options: argparse.Namespace) -> None:
    """Compare the methods' faithfulness on many texts."""
    of_one = ("text", "pair", "question", "passage", "methods", "html", "picture")
    if others := [name for name in of_one if getattr(options, name) is not None]:
        raise UserError(f"--{others[0]} is for one text, --texts for many: pass only one of them")
    if len(options.runs) > 1:
        raise UserError("--texts takes one run at a time")
    check_ending(options.json, ".json")
    check_all_writable((options.json,), options.texts)

    from diffmask_jax.explaining import rivalry_table
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.explaining.rivals import rivalry
    from diffmask_jax.explaining.sources import sources_of
    from diffmask_jax.tasks.encoded_examples import read_file_for

    (run,) = options.runs
    explainer = Explainer.from_pretrained(run, options.model, anyway=options.anyway)
    check_spared(explainer, run, (options.json,))
    examples = read_file_for(explainer.model, options.texts, columns_of(options))
    encoded = explainer.model.encode(examples.texts, options.truncate, examples.rows)
    say_begins(explainer, encoded, ", one at a time")
    found = rivalry(explainer, encoded, sources_of(explainer.model.head, examples.texts))
    told = f"{run}: {explainer.config.gate} probe on {options.texts.name}"
    what = textwrap.fill(rivalry_table.explained(found), WIDTH)

    def write() -> None:
        if options.json:
            numbers = {"run": str(run), "data": options.texts.name} | rivalry_table.as_json(found)
            write_atomically(options.json, dumps(numbers, indent=1, plain=False) + "\n")
            say(f"written to {options.json}")

    give(f"{told}\n{what}\n\n{rivalry_table.as_text(found)}", write)


def _draw(options: argparse.Namespace) -> None:
    """Compare the methods' attributions for one text."""
    if not (options.html or options.picture):
        raise UserError("no output file: pass --html FILE or --picture FILE")
    check_files(options.picture, options.html)
    text = _text(options)

    from diffmask_jax.attribution.methods import USUAL
    from diffmask_jax.explaining import comparing
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.render import comparison_html
    from diffmask_jax.render.comparison_picture import write_picture

    explainers = [
        Explainer.from_pretrained(run, options.model, anyway=options.anyway) for run in options.runs
    ]
    for run, explainer in zip(options.runs, explainers, strict=True):
        check_spared(explainer, run, (options.html, options.picture))
    comparing.check_comparable(explainers)  # before `noise_of`, which takes time
    if options.question is not None:
        explainers[0].model.check_answers()
    explainers[0].model.encode([text], options.truncate)
    names = [name.strip() for name in options.methods.split(",")] if options.methods else USUAL
    chosen, noise = comparing.chosen(explainers[0], names), None
    if any(method.needs_noise for method in chosen):
        noise = comparing.noise_of(options.runs[0], explainers[0], options.anyway)
    comparison = comparing.compare(explainers, noise, text, options.truncate, names)
    if options.html:
        write_atomically(options.html, comparison_html.page(comparison))
    if options.picture:
        write_picture(comparison, options.picture)


def _text(options: argparse.Namespace) -> Text:
    """The text, the pair or the question with its passage."""
    question = question_of(options)
    if (options.text is None) == (question is None):
        raise UserError("pass --text, or --question and --passage")
    if question is not None:
        if options.pair is not None:
            raise UserError("--pair goes with --text: a question's second text is its --passage")
        return question
    return options.text if options.pair is None else (options.text, options.pair)
