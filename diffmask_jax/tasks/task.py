"""A task: which texts are explained, where they lie, and what they are labelled with."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.data.texts import Text
from diffmask_jax.errors import UserError


class Examples(NamedTuple):
    """N texts, or N pairs of texts, in the order of their file.

    Attributes:
      first: the texts, or the first of each pair.
      second: the second of each pair; None where they are single texts.
      gold: their gold labels (N,) as the data has them: class numbers, or an array of objects:
        names, numbers, lists, tuples of answers. `encode_examples` and `gold_of` make of them what
        a model's outputs need. None where the data has no labels.
      rows: what each is called in its file: its id, or the line on which it begins, from 1.
      notes: what of the file is not among them, for people.
    """

    first: list[str]
    second: list[str] | None
    gold: np.ndarray | None
    rows: list[str]
    notes: tuple[str, ...] = ()

    @property
    def texts(self) -> list[Text]:
        """Each as a text or a pair, for `encode_within`."""
        if self.second is None:
            return list(self.first)
        return list(zip(self.first, self.second, strict=True))


class Source(NamedTuple):
    """N examples that need never be in memory together: they are read a portion at a time.

    Attributes:
      size: how many there are, N.
      portions: (most) -> them in their order, so many at once, the last perhaps fewer; read anew.
    """

    size: int
    portions: Callable[[int], Iterator[Examples]]

    def whole(self) -> Examples:
        """All of them."""
        return next(self.portions(self.size))


def source_of(examples: Examples) -> Source:
    """Examples that are in memory already."""

    def portions(most: int) -> Iterator[Examples]:
        for start in range(0, len(examples.rows), most):
            one = slice(start, start + most)
            yield examples._replace(
                first=examples.first[one],
                second=None if examples.second is None else examples.second[one],
                gold=None if examples.gold is None else examples.gold[one],
                rows=examples.rows[one],
            )

    return Source(len(examples.rows), portions)


def check_alike(train: Examples, dev: Examples) -> None:
    """Raises: UserError if one split has pairs and the other single texts."""
    if (train.second is None) != (dev.second is None):
        pairs, texts = ("dev", "train") if train.second is None else ("train", "dev")
        raise UserError(
            f"the {pairs} split has pairs and the {texts} split has single texts: name their "
            "columns by --text-column and --pair-column"
        )


class Task(NamedTuple):
    """A data set, or a kind of file: one a module.

    Attributes:
      name: what the command line calls it.
      help: what it is, in a line.
      places: a dataclass of where its data lies, each field a `setting`: the command line makes
        options of them.
      splits: the names of its parts.
      read: (places, split) -> the examples of one part. Raises: UserError if they cannot be read.
      problem_type: what its labels are, as heads call it; None where a person says.
      labels: the names of a model's outputs in their order, for fine-tuning; None where the data
        says.
    """

    name: str
    help: str
    places: type
    splits: tuple[str, ...]
    read: Callable[[Any, str], Examples]
    problem_type: str | None = None
    labels: tuple[str, ...] | None = None
