"""A model's answers at each row of a heat map, from only what is kept there."""

import re
from typing import NamedTuple

_NUMBER = re.compile(r"(?P<rest>.*?)(?P<number>-?\d[^\s)]*)(?P<end>\)?)", re.DOTALL)


class Replay(NamedTuple):
    """One answer per row, in words and in numbers, beside the answer to the whole text.

    answers: in words
    kept: the number of tokens left
    divergence: from the whole text's outputs, in nats
    turned: whether the decision changes
    probability: that of the whole text's decision, in [0, 1]; None if it has none, like numbers
    whole, whole_probability: the answer to the whole text, and its probability
    """

    whole: str
    answers: tuple[str, ...]
    kept: tuple[int, ...]
    tokens: int
    divergence: tuple[float, ...]
    turned: tuple[bool, ...]
    probability: tuple[float, ...] | None
    whole_probability: float | None

    def line(self, row: int) -> str:
        """One row in words: “good” with probability 0.74 instead of 0.76, KL 0.004 nats."""
        return f"{instead(self.answers[row], self.whole)}, KL {self.divergence[row]:z.3f} nats"

    def left(self, row: int) -> str:
        """What is left at a row, in words: 5 of 22 tokens."""
        return f"{self.kept[row]} of {self.tokens} tokens"


def instead(answer: str, whole: str) -> str:
    """An answer beside the one it replaces; if they differ only in a number, only that is repeated.

    >>> instead("“good” with probability 0.74", "“good” with probability 0.76")
    '“good” with probability 0.74 instead of 0.76'
    """
    if answer == whole:
        return f"{answer}, as before"
    before, after = (_NUMBER.fullmatch(line) for line in (answer, whole))
    if before and after and before["rest"] == after["rest"] and before["end"] == after["end"]:
        return f"{before['rest']}{before['number']} instead of {after['number']}{after['end']}"
    return f"{answer} instead of {whole}"
