"""Sentiment trees in Penn Treebank brackets: one line is one labelled sentence."""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import reading

SPLITS = ("train", "dev", "test")
LABELS = ("very negative", "negative", "neutral", "positive", "very positive")

# A node with a word is one token, and a node with children must be followed by a node, so that only
# the depth remains to be checked. re.ASCII: the treebank has words with a no-break space.
_TOKEN = re.compile(
    r"""(?: \(\s*(?P<leaf>[0-4])\s+(?P<word>[^\s()]+)\s*\)
        |   \(\s*(?P<open>[0-4])(?=\s*\()
        |   (?P<close>\))
        |   (?P<broken>\S) )""",
    re.ASCII | re.VERBOSE,
)

# The Penn Treebank writes / and * inside a word as \/ and \*.
_ESCAPE = re.compile(r"\\([/*])")


class Sentence(NamedTuple):
    """One sentence: its words, the label 0-4 of each word, and the label of the whole."""

    words: tuple[str, ...]
    word_labels: tuple[int, ...]
    label: int

    @property
    def text(self) -> str:
        """The words joined by single blanks, as the model reads them."""
        return " ".join(self.words)


def parse_tree(line: str, where: str) -> Sentence:
    """Read one tree: `(label word)` or `(label tree tree ...)`, labels 0-4; unescape the words.

    Example: `parse_tree("(3 (2 It) (4 (2 's) (3 good)))", "dev.txt:17")` is
    `Sentence(("It", "'s", "good"), (2, 2, 3), 3)`.

    Args:
      line: the tree.
      where: the line's place for error messages, `file:line number`.

    Raises:
      UserError: the line is not exactly one such tree.
    """
    words: list[str] = []
    word_labels: list[int] = []
    root: str | None = None
    depth = 0
    for token in _TOKEN.finditer(line):
        begin = token.start()
        found = f"column {begin + 1}, {line[begin : begin + 24]!r}"
        if root is not None and depth == 0:
            raise UserError(f"{where}: text after the end of the tree at {found}")
        if token["broken"] or (root is None and token["close"]):
            raise UserError(
                f"{where}: broken tree at {found}: "
                "a node is '(', a label 0-4, one word or one or more nodes, ')'"
            )
        root = root or token["leaf"] or token["open"]
        if token["word"]:
            words.append(_ESCAPE.sub(r"\1", token["word"]))
            word_labels.append(int(token["leaf"]))
        else:
            depth += 1 if token["open"] else -1
    if root is None:
        raise UserError(f"{where}: an empty line where a tree is expected")
    if depth > 0:
        raise UserError(f"{where}: the tree ends with {depth} of its '(' still open")
    return Sentence(tuple(words), tuple(word_labels), int(root))


def read_trees(path: Path | zipfile.Path) -> list[Sentence]:
    """Read a UTF-8 file of one tree per line; only the last line may be blank.

    Raises:
      UserError: the file cannot be read, is not UTF-8, or a line is not a tree.
    """
    with reading(str(path)):
        text = path.read_bytes().decode("utf-8-sig")
    # Not splitlines(), which would also break lines at characters that a word may contain.
    lines = text.rstrip().split("\n")
    return [parse_tree(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
