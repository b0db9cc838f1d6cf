"""A task: a data set, or a kind of file, with its texts and labels."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.data.texts import Text
from diffmask_jax.errors import UserError


class Examples(NamedTuple):
    """N texts, or N pairs of texts, in the order of their file.

    Attributes:
      first: the texts, or the first of each pair.
      second: the second of each pair; None for single texts.
      gold: their gold labels (N,) as in the data: class numbers, or an array of objects: names,
        numbers, lists, tuples of answers. `encode_examples` and `gold_of` convert them to what a
        model's outputs need. None if the data has no labels.
      rows: the name of each in its file: its id, or the line on which it begins, from 1.
      notes: remarks for people on what of the file is missing.
    """

    first: list[str]
    second: list[str] | None
    gold: np.ndarray | None
    rows: list[str]
    notes: tuple[str, ...] = ()

    @property
    def texts(self) -> list[Text]:
        """The texts or pairs, for `encode_within`."""
        if self.second is None:
            return list(self.first)
        return list(zip(self.first, self.second, strict=True))


class Source(NamedTuple):
    """N examples, read in portions, so that they need never all be in memory.

    Attributes:
      size: the number of examples, N.
      portions: (most) -> the examples in order, in portions of at most so many; read anew each
        time.
    """

    size: int
    portions: Callable[[int], Iterator[Examples]]

    def whole(self) -> Examples:
        """All examples at once, read to the end, where a file that has changed is refused."""
        (examples,) = self.portions(self.size)
        return examples


def source_of(examples: Examples) -> Source:
    """A source of examples that are in memory already."""

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
            f"the {pairs} split has pairs, but the {texts} split has single texts: name their "
            "columns with --text-column and --pair-column"
        )


class Task(NamedTuple):
    """A data set, or a kind of file; each has a module of its own.

    Attributes:
      name: its name on the command line.
      help: what it is, in one line.
      places: a dataclass of its data's places; each field is a `setting`, and becomes an option of
        the command line.
      splits: the names of its splits.
      read: (places, split) -> the examples of a split. Raises: UserError if they cannot be read.
      problem_type: the kind of its labels, as in heads; None if the user chooses.
      labels: the names of a model's outputs, in order, for fine-tuning; None if they are found in
        the data.
    """

    name: str
    help: str
    places: type
    splits: tuple[str, ...]
    read: Callable[[Any, str], Examples]
    problem_type: str | None = None
    labels: tuple[str, ...] | None = None
