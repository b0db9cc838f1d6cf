"""`diffmask compare`: what seven methods say of a text, side by side."""

import argparse
from pathlib import Path

from diffmask_jax.commands.shared import add_moved, add_truncate
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_all_writable, write_atomically

HELP = "draw what seven methods say of a text"


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    option = parser.add_argument
    option("runs", nargs="+", type=Path, help="run folders of one model: input, hidden or both")
    option("--text", required=True, help="the text to explain")
    option("--pair", metavar="SECOND", help="the second text of a pair, whose first is --text")
    add_moved(parser)
    add_truncate(parser)
    option("--html", type=Path, help="write one standalone page")
    option("--png", type=Path, help="write a picture")


def run(options: argparse.Namespace) -> None:
    """Compare, and write what was asked for."""
    if not (options.html or options.png):
        raise UserError("nowhere to draw: give --html FILE or --png FILE")
    check_all_writable((options.html, options.png))

    from diffmask_jax.explaining import comparing
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.render import comparison_html, comparison_png

    explainers = [Explainer.from_pretrained(run, options.model) for run in options.runs]
    comparing.check_comparable(explainers)  # before the work of the next line
    noise = comparing.noise_of(options.runs[0], explainers[0])
    text = options.text if options.pair is None else (options.text, options.pair)
    comparison = comparing.compare(explainers, noise, text, options.truncate)
    if options.html:
        write_atomically(options.html, comparison_html.page(comparison))
    if options.png:
        comparison_png.write_png(comparison, options.png)
