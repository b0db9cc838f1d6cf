"""Parsing the command line: its words -> a command and its options."""

import argparse
from collections.abc import Sequence
from types import ModuleType

from diffmask_jax import __version__
from diffmask_jax.commands import compare, evaluate, explain, finetune, report, tour, train
from diffmask_jax.commands.arguments import Parser, listed

COMMANDS: dict[str, ModuleType] = {
    "tour": tour,
    "finetune": finetune,
    "train": train,
    "explain": explain,
    "compare": compare,
    "evaluate": evaluate,
    "report": report,
}
"""Each is a module with HELP, add(parser) and run(options); newcomers' commands come first."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; unlike argparse, texts may also follow options."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    end = rest.index("--") if "--" in rest else len(rest)  # everything after it is a text
    # A word with a blank is a text, as for argparse, whatever it begins with.
    unknown = any(word.startswith("-") and " " not in word for word in rest[:end])
    if rest and (options.command != "explain" or unknown):
        of = filter(None, (parser.prog, options.command, getattr(options, "task", None)))
        parser.prog = " ".join(of)  # the command whose help to refer to
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.text += rest[:end] + rest[end + 1 :]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="diffmask",
        description="See which tokens a classifier's decision needs, layer by layer.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar=listed(COMMANDS)
    )
    for name, command in COMMANDS.items():
        command.add(commands.add_parser(name, help=command.HELP))
    return parser
