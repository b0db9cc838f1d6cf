"""Plain text: one text per line."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.columns import TEXT
from diffmask_jax.tasks.formats.table import Row, Table, lines_of

LOOKED_AT = 100  # lines by which a table, or a file of trees, is recognised
_TREE = re.compile(r"\([0-4] (?:(?P<nested>\([0-4] .*\))|[^()\s]+)\)\s*")


def read_lines(path: Path) -> Table:
    """The lines that are not blank, as one column called text.

    Raises:
      UserError: the file cannot be read, is not UTF-8 text, or contains a table or trees.
    """
    lines = lines_of(path, newline=None)

    def rows(names: Sequence[str]) -> Iterator[Row]:
        for number, line in enumerate(lines(), start=1):
            if line.strip():
                yield str(number), [line.removesuffix("\n")] * len(names)

    first = [text for _, (text,) in itertools.islice(rows(["text"]), LOOKED_AT)]
    if kind := _kind_of_table(first):
        do = f"rename it to end in {kind}" if path.suffix else f"give it as a file ending in {kind}"
        raise UserError(
            f"{path} contains a table, not one text per line: {do}, or, if its lines are to be "
            "read as they are, make each a string of a .jsonl file"
        )
    if len(first) > 1 and first[0].strip().lower() in TEXT:
        raise UserError(
            f"{path} begins with {first[0].strip()!r}, the name of a column, not with a text: "
            "remove that line, or give the file as a .csv"
        )
    trees = [tree for tree in map(_TREE.fullmatch, first) if tree]
    if len(trees) == len(first) and any(tree["nested"] for tree in trees):
        raise UserError(
            f"{path} contains trees in brackets, as of the Stanford Sentiment Treebank, not one "
            "text per line: train on them as `train sst --raw-dir FOLDER`, evaluate such a run "
            "with --split, or write their sentences to a file"
        )
    return Table(["text"] if first else [], rows)


def _kind_of_table(texts: list[str]) -> str | None:
    """The proper ending of a file of such lines, if they are a table; None if they are texts.

    They are a table if they are JSON objects, if every line has equally many tabs, or if they have
    commas and the first line names a column of texts.
    """
    if texts and all(text.startswith('{"') and text.endswith("}") for text in texts):
        return ".jsonl"
    if len(texts) < 2:
        return None
    tabs = {text.count("\t") for text in texts}
    if len(tabs) == 1 and tabs != {0}:
        return ".tsv"
    names = [name.strip(' "').lower() for name in texts[0].split(",")]
    are_names = len(names) > 1 and all(name and " " not in name for name in names)
    if are_names and set(names) & set(TEXT) and all("," in text for text in texts):
        return ".csv"
    return None
