"""Pairs from SQuAD: does this sentence of the passage answer the question?"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diffmask_jax.runtime.files import make_folder, write_atomically
from diffmask_jax.tasks.questions import Question, answerable
from diffmask_jax.tasks.squad_json import read_squad

LABELS = ("elsewhere", "answers")
SHORTEST = 25  # characters of a sentence; shorter ones end in an abbreviation, or are headings
END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z\"'(])")  # but not after an initial


def write_pairs(squad: Path, out: Path, most: int) -> None:
    """Write at most so many pairs from a SQuAD file as JSON lines: question, sentence, label, id.

    Each question is paired with the sentence that contains its answer, and with another one of the
    same passage.

    Raises: UserError if the file cannot be read, or is not SQuAD.
    """
    questions = answerable(read_squad(squad)).questions
    pairs = [pair for question in questions for pair in _pairs(question)]
    chosen = np.random.default_rng(0).permutation(len(pairs))[:most]
    lines = (json.dumps(pairs[index], ensure_ascii=False) + "\n" for index in chosen)
    make_folder(out.parent)
    write_atomically(out, "".join(lines))


def _pairs(question: Question) -> Iterator[dict[str, str]]:
    passage, answer = question.passage, question.answers[0]
    spans = sentences(passage)
    holds = [begin <= answer.start and answer.stop <= end for begin, end in spans]
    others = [
        passage[begin:end]
        for (begin, end), right in zip(spans, holds, strict=True)
        if not right and answer.text not in passage[begin:end]
    ]
    if not any(holds) or not others:
        return
    begin, end = spans[holds.index(True)]
    number = int.from_bytes(question.id.encode()[-4:])
    texts = passage[begin:end], others[number % len(others)]
    for label, sentence in zip(reversed(LABELS), texts, strict=True):
        name = f"{question.id}-{label}"
        asked = question.question.strip()
        yield {"id": name, "question": asked, "sentence": sentence, "label": label}


def sentences(passage: str) -> list[tuple[int, int]]:
    """The (start, end) of every sentence of a passage; short ones are joined to the next."""
    ends = [match.start() for match in END.finditer(passage)] + [len(passage)]
    spans, start = [], 0
    for end in ends:
        if end - start >= SHORTEST or end == len(passage):
            spans.append((start, end))
            start = end + len(passage[end:]) - len(passage[end:].lstrip())
    return spans
