"""Options that several commands share."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
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

if TYPE_CHECKING:  # importing JAX takes longer than reporting a mistake
    import numpy as np

    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.tasks.encoded_examples import EncodedExamples


def add_truncate(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that reads texts."""
    parser.add_argument(
        "--truncate", action="store_true", help="truncate texts that are too long for the model"
    )


def add_moved(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that reads a run."""
    parser.add_argument("--model", type=name_of, help="where the model is now, if it was moved")
    add_anyway(parser)


def add_anyway(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that continues a run."""
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="continue even if the model or the texts are not those the run was made with",
    )


def add_picture(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option of every command that draws."""
    parser.add_argument(
        "--picture",
        "--png",
        metavar="FILE",
        type=path_of,
        help=f"write {what}: .png, .svg, .pdf, or .tex for LaTeX",
    )


def check_files(picture: Path | None, *others: Path | None, read: Path | None = None) -> None:
    """Raises: UserError if a file cannot be written, two are one, or the picture can't be drawn.

    read: a file that is read, and so must not be overwritten
    """
    check_all_writable((picture, *others), read)
    if picture:
        from diffmask_jax.render.picture import check_picture

        check_picture(picture)


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that explains texts given as arguments."""
    parser.add_argument("--question", help="a question, for a model that answers questions")
    parser.add_argument("--passage", help="the passage to find its answer in")


def question_of(options: argparse.Namespace) -> tuple[str, str] | None:
    """The options of `add_question`. Raises: UserError if there is one without the other."""
    question, passage = options.question, options.passage
    if (question is None) != (passage is None):
        has, lacks = ("passage", "question") if question is None else ("question", "passage")
        raise UserError(f"--{has} goes with a {lacks}: pass --{lacks}, too")
    return None if question is None else (question, passage)


COLUMNS = {"text": "texts", "pair": "second texts of pairs", "label": "gold labels"}


def add_columns(parser: argparse.ArgumentParser, *columns: str) -> None:
    """Add the options that name the columns of a file."""
    for column in columns:
        parser.add_argument(
            f"--{column}-column",
            type=name_of,
            help=f"column of the {COLUMNS[column]} (default: found by its usual name)",
        )


def columns_of(options: argparse.Namespace) -> Columns:
    """The options of `add_columns`."""
    return Columns(**{name: getattr(options, f"{name}_column", None) for name in COLUMNS})


def check_no_columns(options: argparse.Namespace, file: str) -> None:
    """Raises: UserError if a column is named although no file is read. file: the file's option."""
    for name, column in columns_of(options)._asdict().items():
        if column is not None:
            raise UserError(f"--{name}-column names a column of a file: pass {file} FILE, too")


def add_data(parser: argparse.ArgumentParser, texts: str) -> None:
    """Add the options of every command on a run and a data set. texts: the help of `--texts`."""
    option = parser.add_argument
    option("run", type=path_of, help="run folder made by `diffmask train`")
    option(
        "--split",
        type=name_of,
        help="split of the run's own data (default: dev)",
    )
    option("--texts", type=path_of, help=texts)
    add_columns(parser, *COLUMNS)
    add_moved(parser)


def check_data(options: argparse.Namespace) -> None:
    """Raises: UserError if a column is named, but no file; or a split and a file."""
    if not options.texts:
        check_no_columns(options, "--texts")
    elif options.split is not None:
        raise UserError("--split is of the run's own data: pass --texts or --split, not both")


def data_of(
    options: argparse.Namespace, explainer: "Explainer"
) -> "tuple[str, EncodedExamples, np.ndarray | None]":
    """The data's name, its texts as the run's model reads them, and their gold labels.

    By the options of `add_data`. The gold labels are None if there are none, or if those of a
    column that was not named do not match the model.

    Raises: UserError if it cannot be read, or if gold labels in a named column do not match the
        model.
    """
    from diffmask_jax.explaining.asked import other_kind
    from diffmask_jax.tasks.encoded_examples import gold_labels, read_file_for
    from diffmask_jax.training import fingerprint, setup

    model = explainer.model
    if options.texts:
        name = options.texts.name
        examples = read_file_for(model, options.texts, columns_of(options))
    else:
        name = options.split or "dev"
        examples = setup.read_split(explainer.config, name)
        fingerprint.check(options.run, fingerprint.of_texts(**{name: examples}), options.anyway)
    if doubt := other_kind(examples.texts[0], explainer.pairs):
        say(f"warning: {doubt}")
    # Long texts are truncated; questions that are too long with their passage are left out, as in
    # the paper.
    data = setup.encode_split(model, name, examples, truncate=not model.head.spans)
    try:
        return name, data, gold_labels(model, data)
    except UserError as error:
        if options.label_column:
            raise
        # A column that was not named may be about something else.
        say(f"no scores against gold labels: {error}")
        return name, data, None


def say_begins(explainer: "Explainer", texts: Sequence[Any], how: str = "") -> None:
    """Say how many texts or questions are read, which takes a while. how: ends the line."""
    say(f"compiling, then processing {len(texts)} {explainer.model.head.examples}{how}")


def check_spared(explainer: "Explainer", run: Path, outputs: Iterable[Path | None]) -> None:
    """Raises: UserError if an output would replace a file of the run, or of its model."""
    from diffmask_jax.training import run_folder

    of_run = [run / name for name in run_folder.FILES]
    check_all_writable(outputs, *of_run, *Path(explainer.model.path).iterdir())


def result_files(
    options: argparse.Namespace, explainer: "Explainer", default: str, *endings: str
) -> list[Path]:
    """The files of a command's results: `--out`, or in the run's folder; one file per ending.

    default: the name of the first file in the run's folder, if `--out` is not given

    Raises: UserError if one could not be written later, or would replace a file that is read.
    """
    out = options.out or options.run / default
    places = [out.with_suffix(ending) for ending in endings]
    check_all_writable(places, options.texts, getattr(options, "tags", None))
    check_spared(explainer, options.run, places)
    return places


def give_results(options: argparse.Namespace, told: str, texts: Mapping[Path, str]) -> None:
    """Print a command's results (`give`), and write them to its `result_files`.

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
    """Print a command's results, and write them.

    They are written even if the reader has left (`| head`), and printed even if the disk is full.
    """
    try:
        show(told)
    finally:
        write()


def places_of(task: Task, options: argparse.Namespace) -> Any:
    """The places of a task's data."""
    places = task.places(**those_of(task.places, options))
    settle(places)
    return places


def add_tasks(
    parser: argparse.ArgumentParser, what: str
) -> list[tuple[Task, argparse.ArgumentParser]]:
    """Add a subcommand for every task, each with only that task's options."""
    kinds = parser.add_subparsers(title="data", dest="task", required=True, metavar=listed(TASKS))
    made = []
    for task in TASKS.values():
        own = kinds.add_parser(task.name, help=task.help, description=f"{what} {task.help}")
        if dataclasses.fields(task.places):
            add_settings(own, task.places)
        made.append((task, own))
    return made
