"""Questions about passages, and the answers that people marked in them (paper, section 3.3)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from diffmask_jax.errors import UserError


class Answer(NamedTuple):
    """A stretch of a passage: passage[start:stop] is its text.

    start: characters of the passage before it.
    """

    text: str
    start: int

    @property
    def stop(self) -> int:
        """Characters of the passage before what follows it."""
        return self.start + len(self.text)


class Question(NamedTuple):
    """A question, the passage that it is about, and the answers of all who were asked.

    Attributes:
      id: what it is called in its file.
      question: its text.
      passage: the text that holds the answers.
      answers: one of each annotator, so that some may be the same; none where nobody gave one, or
        where the passage has none.
    """

    id: str
    question: str
    passage: str
    answers: tuple[Answer, ...]

    @property
    def distinct(self) -> tuple[Answer, ...]:
        """Its answers, each once, in the order in which they come first."""
        return tuple(dict.fromkeys(self.answers))


class Answerable(NamedTuple):
    """Questions that have an answer, and how many others there were."""

    questions: list[Question]
    left_out: int


def answerable(questions: Iterable[Question]) -> Answerable:
    """The questions that have an answer: in SQuAD v2.0, about two of three."""
    questions = list(questions)
    having = [question for question in questions if question.answers]
    return Answerable(having, len(questions) - len(having))


def check(question: Question, where: str) -> Question:
    """The question itself, if it can be read and its answers stand where they should.

    where: its place, `file, which article and question`, for the message.

    Raises:
      UserError: the question, the passage or an answer is empty, blank or not valid Unicode, or
        the passage has other characters at an answer's place.
    """
    for what, text in (("question", question.question), ("passage", question.passage)):
        _check_text(text, f"{where}: the {what}")
    for answer in question.answers:
        _check_text(answer.text, f"{where}: an answer")
        there = question.passage[max(answer.start, 0) : max(answer.stop, 0)]
        if answer.start < 0 or there != answer.text:
            reads = f"the passage reads {excerpt(there)}" if there else "the passage has ended"
            raise UserError(
                f"{where}: the answer {excerpt(answer.text)} does not stand at character "
                f"{answer.start} of the passage: there {reads}"
            )
    return question


def places_of(text: str, passage: str) -> tuple[Answer, ...]:
    """Every place of a passage where an answer stands whose place is not told.

    They are those where it is no part of a longer word, if there are any: "man" is not in
    "German". Letters must agree in case. None if it stands nowhere.
    """
    found = [Answer(text, match.start()) for match in re.finditer(re.escape(text), passage)]
    whole = [answer for answer in found if not _in_word(answer, passage)]
    return tuple(whole or found)


def excerpt(text: str) -> str:
    """A text as messages quote it: its first 40 characters, on one line."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _in_word(answer: Answer, passage: str) -> bool:
    before = passage[max(answer.start - 1, 0) : answer.start]
    after = passage[answer.stop : answer.stop + 1]
    begins, ends = answer.text[:1], answer.text[-1:]
    return (before.isalnum() and begins.isalnum()) or (after.isalnum() and ends.isalnum())


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise UserError(f"{what} is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{what} is not valid Unicode: {excerpt(text)}")
