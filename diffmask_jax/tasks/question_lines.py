"""A user's own questions: one JSON object per line, with question, passage and perhaps answers."""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.models import problem_types
from diffmask_jax.runtime.messages import excerpt
from diffmask_jax.runtime.settings import setting
from diffmask_jax.tasks.formats.jsonl import read_jsonl
from diffmask_jax.tasks.formats.table import Table
from diffmask_jax.tasks.gold import is_empty
from diffmask_jax.tasks.question_examples import as_examples
from diffmask_jax.tasks.questions import Answer, Question, check, places_of
from diffmask_jax.tasks.task import Examples, Source, Task

FIELDS = ("question", "passage", "context", "answers", "id")


def read_question_lines(path: str | Path) -> list[Question]:
    """The questions of a .jsonl file, in order.

    A line is `{"question": …, "passage": …, "answers": […], "id": …}`, or has `context` for
    `passage`. Answers and id are optional: a question without an id is named by its line. An answer
    is `{"text": …, "answer_start": …}`, or a string, which means all its occurrences in the passage
    (`places_of`); {"text": […], "answer_start": […]}, the form of `datasets`, is read, too.

    Raises:
      UserError: the file cannot be read or has no question; or, naming the line, there is no
        question or passage, or an answer is of another form or not in the passage.
    """
    path = Path(os.path.expanduser(path))
    return list(_some(_questions(read_jsonl(path), path), path))


def as_line(question: Question) -> dict[str, Any]:
    """A question as a line of such a file."""
    answers = [{"text": answer.text, "answer_start": answer.start} for answer in question.answers]
    return question._asdict() | {"answers": answers}


def open_question_lines(path: str | Path) -> Source:
    """The questions as examples, to be read in portions; the whole file is checked at once.

    Raises: UserError as `read_question_lines` does.
    """
    path = Path(os.path.expanduser(path))
    table = read_jsonl(path)
    size = sum(1 for _ in _some(_questions(table, path), path))

    def portions(most: int) -> Iterator[Examples]:
        questions = _questions(table, path)
        while portion := list(itertools.islice(questions, most)):
            yield as_examples(portion)

    return Source(size, portions)


def _some(questions: Iterator[Question], path: Path) -> Iterator[Question]:
    """Raises: UserError if there are none."""
    first = next(questions, None)
    if first is None:
        raise UserError(f"{path} contains no question")
    return itertools.chain([first], questions)


def _questions(table: Table, path: Path) -> Iterator[Question]:
    names = [name for name in FIELDS if name in table.names]
    for row, cells in table.rows(names):
        yield _question(dict(zip(names, cells, strict=True)), row, f"{path}:{row}")


def _question(line: dict[str, Any], row: str, where: str) -> Question:
    question = _text(line.get("question"), "question", where)
    passage = line.get("passage")
    passage = _text(line.get("context") if passage is None else passage, "passage", where)
    name = row if is_empty(line.get("id")) else str(line["id"])
    # First without answers, so that an empty passage is reported before an answer not in it.
    bare = check(Question(name, question, passage, ()), where)
    return check(bare._replace(answers=_answers(line.get("answers"), passage, where)), where)


def _text(value: Any, what: str, where: str) -> str:
    if value is None:
        raise UserError(f"{where}: the {what} is missing")
    if not isinstance(value, str):
        raise UserError(f"{where}: the {what} is not text but {type(value).__name__}")
    return value


def _answers(given: Any, passage: str, where: str) -> tuple[Answer, ...]:
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        texts, starts = given["text"], given.get("answer_start")
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise UserError(f'{where}: "answers" need an "answer_start" for every "text"')
        given = [
            {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
        ]
    if given is None:
        return ()
    if not isinstance(given, list):
        raise UserError(f'{where}: "answers" must be a list, not {type(given).__name__}')
    return tuple(answer for item in given for answer in _places(item, passage, where))


def _places(item: Any, passage: str, where: str) -> tuple[Answer, ...]:
    if isinstance(item, dict):
        text, start = item.get("text"), item.get("answer_start")
        if isinstance(text, str) and type(start) is int:
            return (Answer(text, start),)
        if isinstance(text, str) and start is None:
            item = text
    if not isinstance(item, str):
        raise UserError(
            f'{where}: an answer must be a string, or an object with a "text" and a whole number '
            f'"answer_start", not {excerpt(str(item))!r}'
        )
    if not item.strip():
        raise UserError(f"{where}: an answer is empty")
    places = places_of(item, passage)
    if not places:
        raise UserError(f"{where}: the answer {excerpt(item)!r} is not in the passage")
    return places


@dataclasses.dataclass(frozen=True)
class QuestionPlaces:
    """The files of the two splits."""

    train: str | None = setting(
        None, ".jsonl file of questions to train on, with their passages", is_path=True
    )
    dev: str | None = setting(None, ".jsonl file of questions to validate on", is_path=True)


def read(places: QuestionPlaces, split: str) -> Examples:
    """The questions of one file, in order, in the form of `as_examples`.

    Raises: UserError if one of the two files is not given, or as `read_question_lines` does.
    """
    if places.train is None or places.dev is None:
        raise UserError("training on questions needs --train FILE and --dev FILE")
    path = {"train": places.train, "dev": places.dev}[split]
    return as_examples(read_question_lines(path))


QUESTIONS = Task(
    name="questions",
    help='questions about passages in .jsonl files: "question", "passage", "answers"',
    places=QuestionPlaces,
    splits=("train", "dev"),
    read=read,
    problem_type=problem_types.QUESTION_ANSWERING,
    labels=problem_types.SPAN_OUTPUTS,
)
