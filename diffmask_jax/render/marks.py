"""Which tokens are part of an answer: predicted ones are drawn bold, gold ones underlined."""

from typing import NamedTuple


class Marks(NamedTuple):
    """For each token whether it is part of the predicted answer, and of a gold one."""

    predicted: tuple[bool, ...]
    gold: tuple[bool, ...]

    def of(self, run: slice) -> "Marks":
        """The marks of some neighbouring tokens."""
        return Marks(self.predicted[run], self.gold[run])


def checked_marks(marks: Marks | None, tokens: int) -> Marks:
    """The marks of so many tokens; None: no token is part of an answer.

    Raises:
      ValueError: there are not as many marks as tokens.
    """
    if marks is None:
        return Marks((False,) * tokens, (False,) * tokens)
    if not len(marks.predicted) == len(marks.gold) == tokens:
        counts = f"{len(marks.predicted)} and {len(marks.gold)}"
        raise ValueError(f"there are {counts} marks, but {tokens} tokens")
    return marks
