"""`diffmask compare`: what several methods say of a text, side by side."""

import argparse
from pathlib import Path

from diffmask_jax.commands.shared import (
    add_moved,
    add_picture,
    add_question,
    add_truncate,
    check_files,
    question_of,
)
from diffmask_jax.data.texts import Text
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import write_atomically

HELP = "draw what several methods say of a text"


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    option = parser.add_argument
    option("runs", nargs="+", type=Path, help="run folders of one model: input, hidden or both")
    option("--text", help="the text to explain")
    option("--pair", metavar="SECOND", help="the second text of a pair, whose first is --text")
    add_question(parser)
    option(
        "--methods",
        metavar="NAME,…",
        help="beside attention and the runs' probes: gradient, integrated_gradients, schulz, guan, "
        "erasure, leave_one_out, per_example (default: the first four)",
    )
    add_moved(parser)
    add_truncate(parser)
    option("--html", type=Path, help="write one standalone page")
    add_picture(parser, "the panels")


def run(options: argparse.Namespace) -> None:
    """Compare, and write what was asked for."""
    if not (options.html or options.picture):
        raise UserError("nowhere to draw: give --html FILE or --picture FILE")
    check_files(options.picture, options.html)
    text = _text(options)

    from diffmask_jax.attribution.methods import USUAL
    from diffmask_jax.explaining import comparing
    from diffmask_jax.explaining.explainer import Explainer, check_answers
    from diffmask_jax.render import comparison_html
    from diffmask_jax.render.comparison_picture import write_picture

    explainers = [Explainer.from_pretrained(run, options.model) for run in options.runs]
    comparing.check_comparable(explainers)  # before the work of `noise_of`
    if options.question is not None:
        check_answers(explainers[0].model)
    explainers[0].model.encode([text], options.truncate)
    names = options.methods.split(",") if options.methods else USUAL
    comparing.chosen(explainers[0], names)
    noise = comparing.noise_of(options.runs[0], explainers[0])
    comparison = comparing.compare(explainers, noise, text, options.truncate, names)
    if options.html:
        write_atomically(options.html, comparison_html.page(comparison))
    if options.picture:
        write_picture(comparison, options.picture)


def _text(options: argparse.Namespace) -> Text:
    """The text, the pair or the question with its passage."""
    question = question_of(options)
    if (options.text is None) == (question is None):
        raise UserError("give --text, or --question and --passage")
    if question is not None:
        if options.pair is not None:
            raise UserError("--pair goes with --text: a question's second text is its --passage")
        return question
    return options.text if options.pair is None else (options.text, options.pair)
