"""Options that several commands take."""

import argparse
import dataclasses
from typing import Any

from diffmask_jax.commands.arguments import add_settings, listed, those_of
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.settings import settle
from diffmask_jax.tasks.columns import Columns
from diffmask_jax.tasks.task import Task
from diffmask_jax.tasks.tasks import TASKS


def add_truncate(parser: argparse.ArgumentParser) -> None:
    """Of every command that reads texts."""
    parser.add_argument(
        "--truncate", action="store_true", help="cut texts longer than the model takes"
    )


def add_moved(parser: argparse.ArgumentParser) -> None:
    """Of every command that reads a run."""
    parser.add_argument("--model", help="where the model lies now, if it was moved")


def add_question(parser: argparse.ArgumentParser) -> None:
    """Of every command that explains what stands on its line."""
    parser.add_argument("--question", help="a question, of a model that answers questions")
    parser.add_argument("--passage", help="the passage that it is answered from")


def question_of(options: argparse.Namespace) -> tuple[str, str] | None:
    """What `add_question` asked for. Raises: UserError if there is one without the other."""
    question, passage = options.question, options.passage
    if (question is None) != (passage is None):
        has, lacks = ("passage", "question") if question is None else ("question", "passage")
        raise UserError(f"--{has} goes with a {lacks}: give --{lacks}, too")
    return None if question is None else (question, passage)


COLUMNS = {"text": "texts", "pair": "second texts of pairs", "label": "gold labels"}


def add_columns(parser: argparse.ArgumentParser, *columns: str) -> None:
    """Which columns of a file hold what."""
    for column in columns:
        parser.add_argument(
            f"--{column}-column",
            help=f"column of the {COLUMNS[column]} (default: by its usual name)",
        )


def columns_of(options: argparse.Namespace) -> Columns:
    """What `add_columns` asked for."""
    return Columns(**{name: getattr(options, f"{name}_column", None) for name in COLUMNS})


def check_no_columns(options: argparse.Namespace, file: str) -> None:
    """Where no file is read. Raises: UserError if a column is named, naming the file's option."""
    for name, column in columns_of(options)._asdict().items():
        if column is not None:
            raise UserError(f"--{name}-column names a column of a file: give {file} FILE, too")


def places_of(task: Task, options: argparse.Namespace) -> Any:
    """Where a task's data lies."""
    places = task.places(**those_of(task.places, options))
    settle(places)
    return places


def add_tasks(
    parser: argparse.ArgumentParser, what: str
) -> list[tuple[Task, argparse.ArgumentParser]]:
    """A command of its own for every task, each with only what that task takes."""
    kinds = parser.add_subparsers(title="data", dest="task", required=True, metavar=listed(TASKS))
    made = []
    for task in TASKS.values():
        own = kinds.add_parser(task.name, help=task.help, description=f"{what} {task.help}")
        if dataclasses.fields(task.places):
            add_settings(own, task.places)
        made.append((task, own))
    return made
