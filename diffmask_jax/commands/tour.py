"""`diffmask tour`: from a model and some texts to a report and a page, command by command."""

import argparse
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from diffmask_jax.commands import explain, report, train
from diffmask_jax.commands.arguments import Parser, name_of, path_of
from diffmask_jax.commands.shared import COLUMNS, add_anyway, add_columns, columns_of
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import check_all_writable, make_folder, write_atomically
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.runtime.messages import show
from diffmask_jax.runtime.settings import option as spelt
from diffmask_jax.tasks.question_examples import questions_of
from diffmask_jax.tasks.question_lines import QUESTIONS, as_line
from diffmask_jax.tasks.task import Examples, Task, source_of
from diffmask_jax.tasks.texts import TEXTS

HELP = "start here: train a short probe, write a report and a page, and show each command"
SHOWN = 10  # texts on the page
BATCH = 32
MARGIN = "1"  # nats, of questions: the authors', for the start and the end of an answer
START = "0.5"  # λ·m: a run as short as this would otherwise end with its margin overspent


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    option = parser.add_argument
    option("model", type=name_of, help="folder or hub id of a model")
    option(
        "--texts",
        type=path_of,
        required=True,
        metavar="FILE",
        help="texts of the kind it reads, labelled or not; if it answers questions: .jsonl",
    )
    add_columns(parser, *COLUMNS)
    option(
        "--steps",
        type=name_of,
        default="300",
        help="training steps (default: 300, which is short)",
    )
    option(
        "--batch-size",
        type=name_of,
        help=f"texts per step (default: {BATCH}, or all; several cards or many layers need more)",
    )
    option(
        "--out",
        type=path_of,
        default=Path("tour"),
        help="folder for everything it writes (default: tour)",
    )
    add_anyway(parser)


def run(options: argparse.Namespace) -> None:
    """Train, report and explain, each by its own command."""
    out, texts = options.out, str(options.texts)
    task = _task_of(options.model)
    columns = _columns(options, task)
    examples = task.read(task.places(train=texts, dev=texts, **columns), "dev")
    folder, few, page = str(out / "run"), out / "some_texts.jsonl", str(out / "some_texts.html")
    overview = str(out / f"report-{options.texts.stem}.html")
    named = [word for name, column in columns.items() for word in (spelt(name), column)]
    batch = options.batch_size or str(min(BATCH, len(examples.first)))
    steps = _steps(Path(folder), options.steps)
    training = [task.name, "--model", options.model, "--train", texts, "--dev", texts]
    training += ["--multiplier-start", START]
    training += ["--margin", MARGIN] * (task is QUESTIONS)
    training += [*named, "--batch-size", batch, "--truncate", "--out", folder]
    anyway = ["--anyway"] * options.anyway
    stops = [
        _stop(train, "train", *training, "--steps", steps, *anyway),
        _stop(report, "report", folder, "--texts", texts, *named, "--out", overview, *anyway),
        _stop(
            explain, "explain", folder, "--file", str(few), "--truncate", "--html", page, *anyway
        ),
    ]
    make_folder(out)
    check_all_writable((few, page, overview), texts)
    lines = _lines(task, next(source_of(examples).portions(SHOWN)))
    write_atomically(few, "".join(dumps(line, plain=False) + "\n" for line in lines))
    show(
        "Three commands, just as you could type them: a short training, a report on the texts\n"
        f"and a page of some of them. Everything is written to {out}; if you stop the tour,\n"
        "the same command continues it."
    )
    for stop in stops:
        show(f"\n$ {stop.typed}")
        stop.command.run(stop.options)
    own = ["a text of your own"]
    if task is QUESTIONS:
        own = ["--question", "a question of yours", "--passage", "what it is about"]
    show(
        f"\nOpen {overview} to see whether the probe is good and which words it keeps,\n"
        f"and {page} to watch the decision form on some texts.\n"
        "The probe was trained only briefly, and on the same texts it is shown on. Next, try:\n"
        f"  {_typed('explain', folder, *own)}\n"
        f"  {_typed('train', *training, '--steps', str(max(8000, 2 * int(steps))))}\n"
        f"  {_typed('compare', folder, '--texts', str(few), '--truncate')}"
    )


def _columns(options: argparse.Namespace, task: Task) -> dict[str, str]:
    """The columns that are named, as settings. Raises: UserError if questions have none."""
    found = {
        f"{name}_column": column
        for name, column in columns_of(options)._asdict().items()
        if column is not None
    }
    if found and task is QUESTIONS:
        raise UserError(f"{spelt(next(iter(found)))} is for texts, not for questions")
    return found


def _steps(run: Path, asked: str) -> str:
    """As many steps as are asked for, or as a run has that was trained for more since."""
    if not (asked.isdecimal() and (run / "config.json").exists()):
        return asked

    from diffmask_jax.training import run_folder

    return str(max(int(asked), run_folder.load_config(run).steps))


class Stop(NamedTuple):
    """A command of the tour, as a person types it and as it is run."""

    typed: str
    command: ModuleType
    options: argparse.Namespace


def _stop(command: ModuleType, name: str, *words: str) -> Stop:
    parser = Parser(prog=f"diffmask {name}")
    command.add(parser)
    return Stop(_typed(name, *words), command, parser.parse_args(words))


def _typed(*words: str) -> str:
    return shlex.join(["diffmask", *words])


def _task_of(model: str) -> Task:
    """What a model reads. Raises: UserError if there is no such model."""
    from diffmask_jax.models.huggingface.description import answers_questions
    from diffmask_jax.models.huggingface.folders import find_folder

    return QUESTIONS if answers_questions(find_folder(model)) else TEXTS


def _lines(task: Task, examples: Examples) -> list[dict[str, Any]]:
    """Examples as lines of a file that `diffmask explain` reads."""
    if task is QUESTIONS:
        return [as_line(question) for question in questions_of(examples)]
    if examples.second is None:
        return [{"text": text} for text in examples.first]
    pairs = zip(examples.first, examples.second, strict=True)
    return [{"text": first, "pair": second} for first, second in pairs]
