"""Part-of-speech tags of questions and passages, from a file of character spans."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.json_files import shown
from diffmask_jax.tasks.formats.jsonl import read_jsonl
from diffmask_jax.tasks.questions import Question

UNIVERSAL = frozenset(
    [
        "ADJ",
        "ADP",
        "ADV",
        "AUX",
        "CCONJ",
        "DET",
        "INTJ",
        "NOUN",
        "NUM",
        "PART",
        "PRON",
        "PROPN",
        "PUNCT",
        "SCONJ",
        "SYM",
        "VERB",
        "X",
        "SPACE",
    ]
)
"""The tags of Universal POS, and spaCy's for blanks."""

UNTAGGED = "X"
"""Universal POS's tag for everything else: the tag of a piece that is in no tagged word."""


class TaggedWord(NamedTuple):
    """A word, text[start:stop], and its Universal POS tag."""

    start: int
    stop: int
    tag: str


class QuestionTags(NamedTuple):
    """The tagged words of a question and of its passage, in the order of the text."""

    question: tuple[TaggedWord, ...]
    passage: tuple[TaggedWord, ...]


def read_question_tags(path: str | Path, questions: Sequence[Question]) -> list[QuestionTags]:
    """The tags of every question, from a file of one JSON object per passage.

    A line is `{"context": passage, "spans": [[start, stop, tag], …], "questions": {id: spans}}`.
    The file may contain other passages and questions, too.

    Raises:
      UserError: the file cannot be read, a line is not such an object, a tag is not one of
        `UNIVERSAL`, a word is outside its text or out of order, no word of a text is tagged, or a
        question is missing or has another passage.
    """
    table = read_jsonl(Path(os.path.expanduser(path)))
    lines = list(table.rows(("context", "spans", "questions")))
    asked: dict[str, tuple[int, Any]] = {}  # the line and the spans of each question
    for line, (row, (passage, _, entries)) in enumerate(lines):
        if not isinstance(entries, dict) or not isinstance(passage, str):
            raise UserError(f'{path}:{row}: "context" and "questions" are expected')
        asked.update({name: (line, own) for name, own in entries.items()})
    words: dict[int, tuple[TaggedWord, ...]] = {}  # by passage, which many questions share
    tags = []
    for question in questions:
        line, own = asked.get(question.id, (-1, None))
        if line < 0:
            raise UserError(f"{path} has no tags for the question {question.id}")
        row, (passage, spans, _) = lines[line]
        where = f"{path}:{row}"
        if passage != question.passage:
            raise UserError(f"{where}: the question {question.id} has another passage")
        if line not in words:
            words[line] = _words(spans, question.passage, where)
        in_question = _words(own, question.question, f"{where}: {question.id}")
        tags.append(QuestionTags(in_question, words[line]))
    return tags


def piece_tags(encoded: Encoded, tags: QuestionTags) -> tuple[str, ...]:
    """The tag of each piece of a question and its passage (T), for Figure 14.

    It is that of the first tagged word that shares a character with the piece or, for a piece of
    blanks, of the word after it; `UNTAGGED` if there is no such word. A special token has its own
    text instead, such as `[CLS]`.
    """
    return tuple(
        token if span is None else _tag(tags[part], span)
        for token, span, part in zip(
            encoded.tokens, encoded.offsets, encoded.parts.tolist(), strict=True
        )
    )


def words_in(words: Sequence[TaggedWord], start: int, stop: int) -> list[TaggedWord]:
    """The words that share at least one character with text[start:stop]."""
    return [word for word in words if word.start < stop and word.stop > start]


def _tag(words: Sequence[TaggedWord], span: tuple[int, int]) -> str:
    start, stop = span
    stop = max(stop, start + 1)  # for a piece of blanks: the place of what comes next
    return next((word.tag for word in words_in(words, start, stop)), UNTAGGED)


def _words(spans: Any, text: str, where: str) -> tuple[TaggedWord, ...]:
    try:
        words = tuple(TaggedWord(int(start), int(stop), str(tag)) for start, stop, tag in spans)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: tags must be a list of [start, stop, tag]") from error
    if not words:
        raise UserError(f"{where}: no word of the text has a tag")
    end = 0
    for word in words:
        if word.tag not in UNIVERSAL:
            raise UserError(
                f"{where}: {shown(word.tag)} is not a Universal POS tag, such as NOUN or PROPN"
            )
        if not end <= word.start < word.stop <= len(text):
            raise UserError(
                f"{where}: the word {shown(word)} is not in its text after character {end}"
            )
        end = word.stop
    return words
