"""Which of two texts a token belongs to: a pair of sentences, or a question and its passage."""

from collections.abc import Sequence

NAMES = ("first", "second")
QUESTION_NAMES = ("question", "passage")
_SPECIAL = -1


def checked_parts(parts: Sequence[int] | None, tokens: int) -> tuple[int, ...]:
    """The text of every token, 0 or 1, or -1 for a special token; None: there is one text.

    Raises:
      ValueError: there is not one part per token, a part is another number, or a token of the first
        text comes after one of the second.
    """
    whole = (0,) * tokens if parts is None else tuple(int(part) for part in parts)
    if len(whole) != tokens:
        raise ValueError(f"parts have length {len(whole)}, but there are {tokens} tokens")
    if not {*whole} <= {_SPECIAL, 0, 1}:
        raise ValueError(f"parts must be 0, 1 or -1 (a special token), not {sorted({*whole})}")
    own = [part for part in whole if part != _SPECIAL]
    if own != sorted(own):
        raise ValueError("the tokens of the second text must follow those of the first")
    return whole


def is_pair(parts: Sequence[int]) -> bool:
    """Whether any token belongs to a second text."""
    return 1 in parts


def texts(parts: Sequence[int], names: Sequence[str] = NAMES) -> list[tuple[str, range]]:
    """The name and the tokens of each text, in order; the name is empty if there is only one.

    names: the names of the two texts of a pair.

    A special token belongs to the text before it, those at the very beginning to the first. The
    second text thus begins with its own first token, whatever is between the two.
    """
    if not is_pair(parts):
        return [("", range(len(parts)))]
    second = list(parts).index(1)
    runs = zip(names, (range(second), range(second, len(parts))), strict=True)
    return [(name, run) for name, run in runs if run]
