"""Options that several commands take."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffmask_jax.commands.arguments import add_settings, listed, name_of, path_of, those_of
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_all_writable, write_atomically, write_in
from diffmask_jax.runtime.messages import say, show
from diffmask_jax.runtime.settings import settle
from diffmask_jax.tasks.columns import Columns
from diffmask_jax.tasks.task import Task
from diffmask_jax.tasks.tasks import TASKS

if TYPE_CHECKING:  # importing JAX takes longer than telling a mistake
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.tasks.encoded_examples import EncodedExamples


def add_truncate(parser: argparse.ArgumentParser) -> None:
    """Of every command that reads texts."""
    parser.add_argument(
        "--truncate", action="store_true", help="cut texts longer than the model takes"
    )


def add_moved(parser: argparse.ArgumentParser) -> None:
    """Of every command that reads a run."""
    parser.add_argument("--model", type=name_of, help="where the model lies now, if it was moved")
    add_anyway(parser)


def add_anyway(parser: argparse.ArgumentParser) -> None:
    """Of every command that goes on with a run."""
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="go on though the model, or the texts, are not those that the run was made with",
    )


def add_picture(parser: argparse.ArgumentParser, what: str) -> None:
    """Of every command that draws."""
    parser.add_argument(
        "--picture",
        "--png",
        metavar="FILE",
        type=path_of,
        help=f"write {what}: .png, .svg, .pdf, or .tex for LaTeX",
    )


def check_files(picture: Path | None, *others: Path | None, read: Path | None = None) -> None:
    """Raises: UserError if a file cannot be written, two are one, or the picture can't be drawn.

    read: a file that is to be read, and so not to be written.
    """
    check_all_writable((picture, *others), read)
    if picture:
        from diffmask_jax.render.picture import check_picture

        check_picture(picture)


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
            type=name_of,
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


def add_data(parser: argparse.ArgumentParser, texts: str) -> None:
    """Of every command about a run and a data set. texts: help of `--texts`."""
    option = parser.add_argument
    option("run", type=path_of, help="run folder made by `diffmask train`")
    option(
        "--split",
        type=name_of,
        default="dev",
        help="of the data that the run is about (default: dev)",
    )
    option("--texts", type=path_of, help=texts)
    add_columns(parser, *COLUMNS)
    add_moved(parser)


def check_data(options: argparse.Namespace) -> None:
    """Raises: UserError if a column is named and no file is."""
    if not options.texts:
        check_no_columns(options, "--texts")


def data_of(options: argparse.Namespace, explainer: "Explainer") -> "tuple[str, EncodedExamples]":
    """What `add_data` asked for: its name, and its texts as the run's model reads them; how many
    there are is said, for what is done with them takes a while.

    Raises: UserError if it cannot be read, or its gold labels, named by a column, do not fit.
    """
    from diffmask_jax.tasks.encoded_examples import gold_labels, read_file_for
    from diffmask_jax.training import fingerprint, setup

    model = explainer.model
    if options.texts:
        name = options.texts.name
        examples = read_file_for(model, options.texts, columns_of(options))
    else:
        name = options.split
        examples = setup.read_split(explainer.config, options.split)
        fingerprint.check(options.run, fingerprint.of_texts(**{name: examples}), options.anyway)
    # A text is cut; a question that is too long with its passage is left out, as in the paper.
    data = setup.encode_split(model, name, examples, truncate=not model.head.spans)
    if options.label_column is None:
        try:
            gold_labels(model, data)
        except UserError as error:  # a column that nobody named may be about something else
            say(f"no scores against gold labels: {error}")
            data = data._replace(gold=None)
    say(f"compiling, then looking at {len(data.encoded)} texts")
    return name, data


def check_spared(explainer: "Explainer", run: Path, outputs: Iterable[Path | None]) -> None:
    """Raises: UserError if an output would replace a file of the run, or of its model."""
    from diffmask_jax.training import run_folder

    of_run = [run / name for name in run_folder.FILES]
    check_all_writable(outputs, *of_run, *Path(explainer.model.path).iterdir())


def result_files(
    options: argparse.Namespace, explainer: "Explainer", default: str, *endings: str
) -> list[Path]:
    """Where a command's results go: `--out`, or into the run's folder, one file an ending.

    default: the first file's name there, which is that of `--out` where it is given.

    Raises: UserError if one could not be written after all the work, or would replace what is read.
    """
    out = options.out or options.run / default
    places = [out.with_suffix(ending) for ending in endings]
    check_all_writable(places, options.texts, getattr(options, "tags", None))
    check_spared(explainer, options.run, places)
    return places


def give_results(options: argparse.Namespace, told: str, texts: Mapping[Path, str]) -> None:
    """`give` what a command found, and write it to its `result_files`.

    Raises: UserError if one cannot be written.
    """

    def write() -> None:
        for place, text in texts.items():
            if options.out:
                write_atomically(place, text)
            else:
                write_in(options.run, place.name, text)
        first, *others = texts
        say(f"written to {' and '.join([str(first), *(place.name for place in others)])}")

    give(told, write)


def give(told: str, write: Callable[[], None]) -> None:
    """Show what a command found, and write it.

    Neither a reader that has left (`| head`) nor a full disk takes the other half away.
    """
    try:
        show(told)
    finally:
        write()


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
