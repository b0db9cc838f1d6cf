"""The official files of SQuAD (Rajpurkar et al. 2016, 2018): articles, paragraphs, questions."""

from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.tasks.formats.table import read_text
from diffmask_jax.tasks.questions import Answer, Question, check

SPLITS = ("train", "dev")


def read_squad(path: Path) -> list[Question]:
    """All questions of a file of v1.1 or v2.0, in order.

    Those that v2.0 marks as impossible have no answers; see `answerable`. Answers must be where the
    file says, as in all 22 447 questions of v1.1 that we had.

    Raises:
      UserError: the file cannot be read, or as `parse_squad` does.
    """
    return parse_squad(read_text(path), str(path))


def parse_squad(text: str, name: str) -> list[Question]:
    """The questions in the text of such a file.

    name: the name of the file in messages.

    Raises:
      UserError: it is not JSON, has no question, a field is missing or of the wrong type, or as
        `check` does; the message names the file, the article, the paragraph and the question.
    """
    whole = json_files.parse(text, name, object)
    questions = []
    for number, article in enumerate(_field(whole, "data", list, name), start=1):
        title = article.get("title") if isinstance(article, dict) else None
        place = f"{name}, article {number}" + f" ({title!r})" * isinstance(title, str)
        for count, paragraph in enumerate(_field(article, "paragraphs", list, place), start=1):
            where = f"{place}, paragraph {count}"
            passage = _field(paragraph, "context", str, where)
            for place_in, entry in enumerate(_field(paragraph, "qas", list, where), start=1):
                questions.append(_question(entry, passage, f"{where}, question {place_in}"))
    if not questions:
        raise UserError(f"{name} contains no question")
    return questions


def _question(entry: Any, passage: str, where: str) -> Question:
    name = _field(entry, "id", str, where)
    where = f"{where} ({name})"
    answers = tuple(
        Answer(_field(answer, "text", str, there), _field(answer, "answer_start", int, there))
        for number, answer in enumerate(_field(entry, "answers", list, where), start=1)
        for there in [f"{where}, answer {number}"]
    )
    if entry.get("is_impossible") is True:
        answers = ()
    return check(Question(name, _field(entry, "question", str, where), passage, answers), where)


def _field(entry: Any, name: str, kind: type, where: str) -> Any:
    return json_files.field(json_files.check(entry, dict, f"{where}: it"), name, kind, where)
