"""Questions about passages, and the answers that people marked in them (paper, section 3.3)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.messages import excerpt


class Answer(NamedTuple):
    """A span of a passage: passage[start:stop] is its text."""

    text: str
    start: int

    @property
    def stop(self) -> int:
        """The end of the span, exclusive."""
        return self.start + len(self.text)


class Question(NamedTuple):
    """A question, the passage that it is about, and the annotators' answers.

    Attributes:
      id: its id in the file.
      question: its text.
      passage: the text that contains the answers.
      answers: one per annotator, so that some may be equal; empty if nobody gave one, or if the
        passage does not answer the question.
    """

    id: str
    question: str
    passage: str
    answers: tuple[Answer, ...]

    @property
    def distinct(self) -> tuple[Answer, ...]:
        """The distinct answers, in order of first occurrence."""
        return tuple(dict.fromkeys(self.answers))


class Answerable(NamedTuple):
    """Questions that have an answer, and the number of those that do not."""

    questions: list[Question]
    left_out: int


def answerable(questions: Iterable[Question]) -> Answerable:
    """The questions that have an answer: about two thirds of SQuAD v2.0."""
    questions = list(questions)
    having = [question for question in questions if question.answers]
    return Answerable(having, len(questions) - len(having))


def check(question: Question, where: str) -> Question:
    """The question itself, if it is valid and its answers are where they should be.

    where: its place, `file, which article and question`, for the message.

    Raises:
      UserError: the question, the passage or an answer is empty, blank or not valid Unicode, or
        the passage has another text at an answer's place.
    """
    for what, text in (("question", question.question), ("passage", question.passage)):
        _check_text(text, f"{where}: the {what}")
    for answer in question.answers:
        _check_text(answer.text, f"{where}: an answer")
        there = question.passage[max(answer.start, 0) : max(answer.stop, 0)]
        if answer.start < 0 or there != answer.text:
            reads = f"the passage reads {excerpt(there)!r}" if there else "the passage has ended"
            raise UserError(
                f"{where}: the answer {excerpt(answer.text)!r} is not at character {answer.start} "
                f"of the passage: there {reads}"
            )
    return question


def places_of(text: str, passage: str) -> tuple[Answer, ...]:
    """Every occurrence in a passage of an answer given without its place.

    Occurrences within longer words count only if there are no others: "man" is not in "German".
    Case matters. Empty if there is no occurrence.
    """
    found = [Answer(text, match.start()) for match in re.finditer(re.escape(text), passage)]
    whole = [answer for answer in found if not _in_word(answer, passage)]
    return tuple(whole or found)


def _in_word(answer: Answer, passage: str) -> bool:
    before = passage[max(answer.start - 1, 0) : answer.start]
    after = passage[answer.stop : answer.stop + 1]
    begins, ends = answer.text[:1], answer.text[-1:]
    return (before.isalnum() and begins.isalnum()) or (after.isalnum() and ends.isalnum())


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise UserError(f"{what} is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{what} is not valid Unicode: {excerpt(text)!r}")
