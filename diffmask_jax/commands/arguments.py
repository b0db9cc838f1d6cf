"""Options made from dataclasses of settings: their names, help, defaults and checks."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.settings import naming, option


class Parser(argparse.ArgumentParser):
    """argparse's parser, but options must be written in full, and errors take one line.

    name: what those lines begin with
    """

    def __init__(self, name: str = "diffmask", **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | options)
        self._name = name

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write help and versions, for which argparse ignores errors of writing."""
        print(message, end="", file=file or sys.stdout, flush=True)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2, without the page of all options that would bury the message."""
        say(f"{self._name}: {message} (see {self.prog} --help)")
        self.exit(2)


def listed(names: Iterable[str]) -> str:
    """{a,b}: the choices of a command in help and messages."""
    return f"{{{','.join(names)}}}"


def name_of(text: str) -> str:
    """The type of an option that names something (`settings.naming`)."""
    if nothing := naming(text):
        raise argparse.ArgumentTypeError(nothing)
    return text


def path_of(text: str) -> Path:
    """The type of an option that names a file or folder, but not a stream by a dash."""
    if text == "-":
        raise argparse.ArgumentTypeError("- is not a file name: use /dev/stdin, /dev/stdout or ./-")
    return Path(os.path.expanduser(name_of(text)))


def add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """Add an option for each field of a dataclass of `settings.setting`s.

    Omitted options are absent from the namespace, so that the defaults of the fields apply.
    """
    for field in _settings_of(settings):
        told = field.metadata["told"] or field.default
        default = "" if told is None or told is False else f" (default: {told})"
        text = (field.metadata["help"] + default).replace("%", "%%")
        if field.default is False:
            parser.add_argument(
                option(field.name), action="store_true", default=argparse.SUPPRESS, help=text
            )
            continue
        kind: type = str if field.default is None else type(field.default)
        parser.add_argument(
            option(field.name),
            default=argparse.SUPPRESS,
            type=name_of if kind is str else _number(kind, field.metadata["check"]),
            choices=field.metadata["choices"],
            metavar=None if field.metadata["choices"] else kind.__name__.upper(),
            help=text,
        )


@cache
def _number(kind: type, check: Callable[[Any], str | None] | None) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if check and (reason := check(value)):
            raise argparse.ArgumentTypeError(f"{reason}, not {text}")
        return value

    read.__name__ = {"int": "whole number", "float": "number"}[kind.__name__]
    return read


def those_of(settings: type, options: argparse.Namespace) -> dict[str, Any]:
    """The parsed options that `add_settings` added for a dataclass."""
    names = {field.name for field in _settings_of(settings)}
    return {name: value for name, value in vars(options).items() if name in names}


def _settings_of(settings: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(settings) if "help" in field.metadata]


def check_ending(path: Any, *endings: str) -> None:
    """Raises: UserError if a file to be written does not have one of these endings."""
    if path is not None and path.suffix not in endings:
        raise UserError(f"cannot write {path}: its name must end in {' or '.join(endings)}")
