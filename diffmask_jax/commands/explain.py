"""`diffmask explain`: what a trained probe says of texts."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from diffmask_jax.commands.shared import (
    add_columns,
    add_moved,
    add_truncate,
    check_no_columns,
    columns_of,
)
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_all_writable
from diffmask_jax.tasks.files import read_file
from diffmask_jax.tasks.task import Examples

HELP = "explain texts with a trained probe"


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    option = parser.add_argument
    option("run", type=Path, help="run folder made by `diffmask train`")
    option("text", nargs="*", help="texts to explain")
    option("--pair", metavar="SECOND", help="the second text of a pair, whose first is the text")
    option(
        "--file",
        type=Path,
        help=".txt with one text a line, .tsv, .csv, .jsonl, .parquet (default: standard input)",
    )
    add_columns(parser, "text", "pair")
    add_moved(parser)
    option("--layers", action="store_true", help="one row per layer instead of the last one")
    add_truncate(parser)
    option("--png", type=Path, help="write a heat map (one text)")
    option("--html", type=Path, help="write one standalone page")
    option("--jsonl", type=Path, help="write one JSON object a text, with its row in the file")
    option(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="of what is drawn in the terminal (default: auto)",
    )


def run(options: argparse.Namespace) -> None:
    """Explain, write the files that were asked for, draw what is short enough."""
    files = options.png, options.html, options.jsonl
    check_all_writable(files)
    examples = _examples(options)
    if options.png and len(examples.first) > 1:
        raise UserError(f"--png draws one text, not {len(examples.first)}: use --html or --jsonl")

    from diffmask_jax.explaining import presenting
    from diffmask_jax.explaining.explainer import Explainer

    explainer = Explainer.from_pretrained(options.run, options.model)
    explanations = presenting.explain_all(explainer, examples, options.truncate)
    presenting.write_files(explanations, examples.rows, *files)
    if len(explanations) == 1 or not any(files):
        width = shutil.get_terminal_size().columns
        presenting.print_all(explanations, _wants_color(options.color), width, options.layers)


def _examples(options: argparse.Namespace) -> Examples:
    """The texts given as arguments, or a file's, or standard input's."""
    if options.text and options.file:
        raise UserError("give texts or --file, not both")
    if options.pair is not None and len(options.text) != 1:
        raise UserError("--pair goes with one text: give the first text of the pair before it")
    if options.text:
        check_no_columns(options, "--file")
        second = None if options.pair is None else [options.pair]
        rows = [str(number) for number in range(1, len(options.text) + 1)]
        return Examples(list(options.text), second, None, rows)
    if options.file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError("nothing to explain: give a text, --file FILE, or texts on standard input")
    return read_file(options.file or "/dev/stdin", columns_of(options))


def _wants_color(asked: str) -> bool:
    if asked == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return asked == "always"
