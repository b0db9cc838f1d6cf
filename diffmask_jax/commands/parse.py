"""The command line's words -> a command and its options."""

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
"""Each a module with HELP, add(parser) and run(options); first where a newcomer begins."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; texts may stand behind options too, which argparse itself does not see."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    end = rest.index("--") if "--" in rest else len(rest)  # behind it all are texts
    unknown = any(word.startswith("-") for word in rest[:end])
    if rest and (options.command != "explain" or unknown):
        of = filter(None, (parser.prog, options.command, getattr(options, "task", None)))
        parser.prog = " ".join(of)  # whose help is the one to see
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
