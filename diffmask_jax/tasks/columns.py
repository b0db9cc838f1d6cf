"""Which columns of a table contain the texts, the second texts, the labels and the rows' names."""

from collections.abc import Sequence
from typing import NamedTuple

from diffmask_jax.errors import UserError

# Usual names, the likeliest first.
TEXT = (
    *("text", "sentence", "sentence1", "premise", "question", "question1", "first"),
    *("review", "content", "comment", "tweet", "document"),
)
PAIRS = (
    *(("text", "text_pair"), ("text", "pair"), ("sentence1", "sentence2")),
    *(("premise", "hypothesis"), ("question", "sentence"), ("question", "passage")),
    *(("question", "context"), ("question", "answer"), ("question1", "question2")),
    ("first", "second"),
)
HALVES = frozenset(first for first, _ in PAIRS) - {"text"}
"""Columns of texts that often have a second text beside them."""
SECONDS = frozenset(second for _, second in PAIRS) | {
    *("claim", "statement", "conclusion", "evidence", "response", "reply"),
}
"""Columns that are second texts beside these."""

LABEL = ("label", "labels", "gold", "class", "sentiment", "score")
ID = ("id", "idx", "guid")


class Columns(NamedTuple):
    """The names of columns; None: a usual one, if the table has it.

    If a text column is named, there are pairs only if a pair column is named, too.
    """

    text: str | None = None
    pair: str | None = None
    label: str | None = None


USUAL = Columns()


class Chosen(NamedTuple):
    """The names of the columns of one table; None for those it does not have."""

    text: str
    pair: str | None
    label: str | None
    id: str | None


def choose(names: Sequence[str], columns: Columns, where: str) -> Chosen:
    """Find the columns of a table with these names; usual names are found in any case.

    Raises:
      UserError: a named column is missing, there is no usual one for the texts, or that one may be
        the first text of a pair that is not usual.
    """
    for name in columns:
        if name is not None and name not in names:
            raise UserError(f"{where} has no column {name!r}, only {_listed(names)}")
    named = [name for name in columns if name is not None]
    if len(set(named)) < len(named):
        raise UserError(
            f"{_listed(named)}: texts, second texts and labels must be in different columns"
        )
    text, pair = columns.text, columns.pair
    if text is None and pair is None:
        text, pair = next(
            (
                (first, second)
                for first, second in ((_usual(names, [name]) for name in two) for two in PAIRS)
                if first is not None and second is not None
            ),
            (None, None),
        )
    if text is None:
        text = _usual([name for name in names if name != pair], TEXT)
    if text is None and len(names) == 1 and (other := next(filter(names[0].count, ";\t|"), None)):
        raise UserError(
            f"{where} has cells separated by {other!r}: separate them by commas in a .csv, or by "
            "tabs in a .tsv"
        )
    if text is None:
        raise UserError(
            f"{where} has no column of texts, only {_listed(names)}: add a first line with names "
            "such as text and label, or pass --text-column NAME"
        )
    chosen = Chosen(text, pair, columns.label or _usual(names, LABEL), _usual(names, ID))
    others = [name for name in names if name not in chosen]
    second = next((name for name in others if name.strip().lower() in SECONDS), None)
    if columns.text is None and pair is None and text.strip().lower() in HALVES and second:
        raise UserError(
            f"{where} has the columns {text!r} and {second!r}: pass --pair-column {second} if they "
            f"are pairs, or --text-column {text} for single texts"
        )
    return chosen


def _usual(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """The name that comes first among the usual ones."""
    plain = {name.strip().lower(): name for name in reversed(names)}
    return next((plain[name] for name in usual if name in plain), None)


def _listed(names: Sequence[str]) -> str:
    shown = [name if len(name) <= 24 else name[:24] + "…" for name in names[:8]]
    return ", ".join(map(repr, shown)) + ", …" * (len(names) > 8)
