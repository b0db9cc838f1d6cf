"""What a model still answers at each row of a heat map, from what is kept there alone."""

from typing import NamedTuple


class Replay(NamedTuple):
    """Answers in words and in numbers, one a row, beside the answer to the whole text.

    answers: in words; kept: how many of the tokens were left
    divergence: from the whole text's outputs, in nats; turned: whether the decision is another
    probability: of the whole text's decision, in [0, 1]; None where there is none, as of numbers
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
        """One row in a line: “good” with probability 0.74 instead of 0.76, KL 0.004 nats."""
        return f"{instead(self.answers[row], self.whole)}, KL {self.divergence[row]:z.3f} nats"

    def left(self, row: int) -> str:
        """What is left at a row: 5 of 22 tokens."""
        return f"{self.kept[row]} of {self.tokens} tokens"


def instead(answer: str, whole: str) -> str:
    """An answer beside the one it replaces, of which only the number is told if they share a rest.

    >>> instead("“good” with probability 0.74", "“good” with probability 0.76")
    '“good” with probability 0.74 instead of 0.76'
    """
    if answer == whole:
        return f"{answer}, as before"
    rest, _, number = whole.rpartition(" ")
    return f"{answer} instead of {number if answer.rpartition(' ')[0] == rest else whole}"
