"""Pairs from SQuAD: does this sentence of the passage answer the question?"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import write_atomically
from experiments.common.resume import make_folder

LABELS = ("elsewhere", "answers")
SHORTEST = 25  # characters of a sentence; what is shorter is an abbreviation's end or a heading
END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z\"'(])")  # and not after an initial


def write_pairs(squad: Path, out: Path, most: int, seed: int = 0) -> None:
    """At most so many pairs of a SQuAD file as JSON lines: question, sentence, label, id.

    Each question gives the sentence that holds its answer and another one of the same passage.

    Raises: UserError if the file cannot be read or is no SQuAD.
    """
    try:
        articles = json.loads(squad.read_text(encoding="utf-8"))["data"]
        pairs = [pair for article in articles for pair in _pairs(article, seed)]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{squad} cannot be read as SQuAD ({error})") from error
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:most]
    lines = (json.dumps(pairs[index], ensure_ascii=False) + "\n" for index in chosen)
    make_folder(out.parent)
    write_atomically(out, "".join(lines))


def _pairs(article: dict[str, Any], seed: int) -> Iterator[dict[str, str]]:
    for paragraph in article["paragraphs"]:
        spans = sentences(paragraph["context"])
        for question in paragraph["qas"]:
            answer = question["answers"][0]
            start = answer["answer_start"]
            stop = start + len(answer["text"])
            holds = [begin <= start and stop <= end for begin, end in spans]
            others = [
                paragraph["context"][begin:end]
                for (begin, end), right in zip(spans, holds, strict=True)
                if not right and answer["text"] not in paragraph["context"][begin:end]
            ]
            if not any(holds) or not others:
                continue
            begin, end = spans[holds.index(True)]
            number = int.from_bytes(question["id"].encode()[-4:]) + seed
            texts = paragraph["context"][begin:end], others[number % len(others)]
            for label, sentence in zip(reversed(LABELS), texts, strict=True):
                name = f"{question['id']}-{label}"
                asked = question["question"].strip()
                yield {"id": name, "question": asked, "sentence": sentence, "label": label}


def sentences(passage: str) -> list[tuple[int, int]]:
    """(start, end) of every sentence of a passage, too short ones joined to the next."""
    ends = [match.start() for match in END.finditer(passage)] + [len(passage)]
    spans, start = [], 0
    for end in ends:
        if end - start >= SHORTEST or end == len(passage):
            spans.append((start, end))
            start = end + len(passage[end:]) - len(passage[end:].lstrip())
    return spans
