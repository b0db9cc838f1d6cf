"""`diffmask explain`: texts explained by a trained probe."""

import argparse
import functools
import os
import re
import shutil
import sys
from pathlib import Path

from diffmask_jax.commands.arguments import path_of
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
    question_of,
)
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import is_standard_output
from diffmask_jax.runtime.messages import say
from diffmask_jax.tasks.task import Examples, source_of

HELP = "explain texts with a trained probe"

_LAYERS = re.compile(r"[\s,.:;+-]*\d[\d\s,.:;+-]*|w|e|all|top|last", re.IGNORECASE)
"""How people write a choice of layers."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    option = parser.add_argument
    option("run", type=path_of, help="run folder made by `diffmask train`")
    option("text", nargs="*", help="texts to explain")
    option("--pair", metavar="SECOND", help="second text of a pair; the first is the text")
    add_question(parser)
    option(
        "--file",
        type=path_of,
        help="file of texts: .txt (one per line), .tsv, .csv, .jsonl or .parquet; of questions: "
        ".jsonl with question, passage and optionally answers (default: standard input)",
    )
    add_columns(parser, "text", "pair")
    add_moved(parser)
    option("--layers", action="store_true", help="show every layer, not only the last")
    option(
        "--replay",
        action="store_true",
        help="also run the model on what each layer keeps, and show its answers (--html always "
        "does)",
    )
    option(
        "--last-probe",
        action="store_true",
        help="use the run's last probe, if its training kept none or another; every output says so",
    )
    add_truncate(parser)
    add_picture(parser, "a heat map of one text")
    option("--html", type=path_of, help="write a standalone HTML page")
    option(
        "--jsonl",
        type=path_of,
        help="write one JSON object per text, with its id or row in the file; until it is "
        "complete, the file is named FILE.….partial, and the same command continues it",
    )
    option(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="whether to colour what is drawn in the terminal (default: auto)",
    )


def run(options: argparse.Namespace) -> None:
    """Check all texts, explain them, and write the requested files or draw."""
    files = options.picture, options.html, options.jsonl
    check_files(*files, read=options.file)
    given = _given(options)

    from diffmask_jax.explaining import presenting, streaming
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.tasks.encoded_examples import open_file_for

    explainer = Explainer.from_pretrained(
        options.run, options.model, anyway=options.anyway, last_probe=options.last_probe
    )
    check_spared(explainer, options.run, files)
    if explainer.doubt:
        say(explainer.doubt)
    if (verdict := explainer.assessment) is not None and verdict.answer == "not good":
        failed = next(finding.says for finding in verdict.findings if finding.holds is False)
        say(f"the probe is not good: {failed}; `diffmask report {options.run}` says more")
    if options.question is not None:
        explainer.model.check_answers()
    file = options.file or Path("/dev/stdin")
    source = (
        source_of(given) if given else open_file_for(explainer.model, file, columns_of(options))
    )
    if options.picture and source.size > 1:
        raise UserError(f"--picture draws one text, not {source.size}: use --html or --jsonl")
    replay = options.replay or options.html is not None
    texts = streaming.encoded_source(explainer.model, source, options.truncate)
    identity = streaming.checked(explainer, texts, replay)
    explain = functools.partial(streaming.explained, explainer, texts, replay)
    one = list(explain(0)) if source.size == 1 else None  # it is drawn, too
    if any(files):
        presenting.write_files(explain if one is None else lambda done: one, identity, *files)
    if (one is not None and not any(map(is_standard_output, files))) or not any(files):
        width = shutil.get_terminal_size().columns
        drawn = explain(0) if one is None else one
        presenting.print_all(drawn, _wants_color(options.color), width, options.layers)


def _given(options: argparse.Namespace) -> Examples | None:
    """The texts or the question given as arguments; None if they are in a file."""
    question = question_of(options)
    _check_texts(options)
    ways = {"texts": options.text, "--file": options.file, "--question": question}
    several = [name for name, given in ways.items() if given]
    if len(several) > 1:
        raise UserError(f"give {' or '.join(several)}, not both")
    if options.pair is not None and len(options.text) != 1:
        raise UserError("--pair goes with one text: give the first text of the pair before it")
    if not several and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError("nothing to explain: give a text, --file FILE, or texts on standard input")
    if not options.text and question is None:
        return None
    check_no_columns(options, "--file")
    if question is not None:
        return Examples([question[0]], [question[1]], None, ["1"])
    second = None if options.pair is None else [options.pair]
    rows = [str(number) for number in range(1, len(options.text) + 1)]
    return Examples(list(options.text), second, None, rows)


def _check_texts(options: argparse.Namespace) -> None:
    """Raises: UserError if a text is a path, a value meant for --layers, or a dash."""
    for text in options.text:
        if text == "-":
            raise UserError("- is not a text: leave it out to read texts from standard input")
        if (Path(text).suffix or os.sep in text) and os.path.exists(text):
            kind = "folder" if os.path.isdir(text) else "file"
            raise UserError(f"{text} is a {kind}, not a text: pass it as --file {text}")
        if options.layers and _LAYERS.fullmatch(text.strip()):
            raise UserError(f"--layers takes no value, so {text} would be explained as a text")


def _wants_color(asked: str) -> bool:
    if asked == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return asked == "always"
