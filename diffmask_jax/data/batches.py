"""Tokenised texts as batches of few shapes, for little padding and few compilations."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError

LENGTHS = (
    *(16, 24, 32, 40, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512),
    *(half << power for power in range(8, 19) for half in (3, 4)),  # 768, 1024, … to 2²⁰
)

T = TypeVar("T")

MOST = 2**20  # texts in a chunk, all of which are in memory


class Batch(NamedTuple):
    """Examples of one padded length: their numbers in the data set, and the model's inputs."""

    indices: Int[np.ndarray, "*B"]
    inputs: TextInputs


def padded_length(length: int, limit: int = LENGTHS[-1]) -> int:
    """`shortest_of` LENGTHS. limit: the model's largest number of positions."""
    return shortest_of(LENGTHS, length, limit)


def shortest_of(lengths: Sequence[int], length: int, limit: int) -> int:
    """The first of rising lengths that is enough for a text; beyond them, the text's own length.

    limit: the model's largest number of positions, which padding never exceeds
    """
    shortest = next((n for n in lengths if n >= length), length)
    return min(shortest, max(length, limit))


def pad(texts: Sequence[Encoded], length: int) -> TextInputs:
    """Word pieces of B texts or pairs, padded to T = length with zeros that are not valid."""
    tokens, segments = np.zeros((2, len(texts), length), np.int32)
    valid = np.zeros((len(texts), length), bool)
    for row, text in enumerate(texts):
        tokens[row, : len(text.ids)] = text.ids
        segments[row, : len(text.ids)] = text.segments
        valid[row, : len(text.ids)] = True
    return TextInputs(tokens, segments, valid)


def in_order(texts: Sequence[Encoded], batch: int, limit: int = LENGTHS[-1]) -> Iterator[Batch]:
    """Every text once, shortest shapes first, in batches of exactly `batch` rows.

    The last batch of a length is filled up by repeating its first text: only the first
    `len(indices)` rows of its results count. limit: as in `padded_length`.
    """
    by_length: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        by_length.setdefault(padded_length(len(text.ids), limit), []).append(index)
    for length, members in sorted(by_length.items()):
        for start in range(0, len(members), batch):
            yield _filled(texts, members[start : start + batch], batch, length)


def ascending(texts: Sequence[Encoded], batch: int, limit: int = LENGTHS[-1]) -> Iterator[Batch]:
    """Every text once, by rising length, in batches of exactly `batch` rows.

    A batch is padded for its longest text. Only the first batch may have to be filled up, as in
    `in_order`; elsewhere shorter texts share batches with longer ones. limit: as in
    `padded_length`.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index].ids))
    for end in range(len(order) % batch or batch, len(order) + 1, batch):
        indices = order[max(0, end - batch) : end]
        length = padded_length(len(texts[indices[-1]].ids), limit)
        yield _filled(texts, indices, batch, length)


def _filled(texts: Sequence[Encoded], indices: list[int], batch: int, length: int) -> Batch:
    """A batch of some texts, the first of them repeated until there are `batch` rows."""
    rows = indices + [indices[0]] * (batch - len(indices))
    return Batch(np.array(indices), pad([texts[index] for index in rows], length))


def put_back(found: Iterable[tuple[Int[np.ndarray, " B"], T]], along: Callable[..., T]) -> T:
    """Results of batches, put back into the order of the data set; filled-up rows are dropped.

    found: for each batch its indices and its result, a tree of arrays (B, …) whose first rows are
    those of the indices. along: like `jax.tree.map`, (function of arrays (B, …), trees) -> the tree
    of its results.
    """
    order, trees = zip(*found, strict=True)
    places = np.argsort(np.concatenate(order))

    def joined(*arrays: np.ndarray) -> np.ndarray:
        own = [array[: len(indices)] for array, indices in zip(arrays, order, strict=True)]
        return np.concatenate(own)[places]

    return along(joined, *trees)


def shuffled(
    texts: Sequence[Encoded],
    batch: int,
    steps: int,
    seed: int,
    start: int = 0,
    limit: int = LENGTHS[-1],
    rows: slice = slice(None),
) -> Iterator[Batch]:
    """Endless training chunks of `steps` batches of one shape, arrays (steps, batch, length).

    Each epoch draws a new order and sorts it into queues by padded length; a queue emits every
    whole chunk, and what is left over opens the next epoch. The order depends on the seed alone, so
    that a resumed run continues exactly by passing `start`, the number of chunks already seen.

    limit: as in `padded_length`
    rows: the rows of every batch to make, if others are made by other hosts

    Raises: UserError as `check_fills` does.
    """
    check_fills(texts, batch, steps)
    lengths = np.array([padded_length(len(text.ids), limit) for text in texts])
    chunks = _chunks(lengths, steps * batch, seed)
    for length, chosen in itertools.islice(chunks, start, None):
        indices = np.reshape(chosen, (steps, batch))[:, rows]
        inputs = pad([texts[i] for i in indices.flat], length)
        yield Batch(
            indices,
            TextInputs(*(np.reshape(array, (*indices.shape, length)) for array in inputs)),
        )


def check_fills(texts: Sequence[Encoded], batch: int, steps: int) -> None:
    """Raises: UserError if there are fewer texts than one batch, or too many in one chunk."""
    if len(texts) < batch:
        raise UserError(f"{len(texts)} texts do not fill one batch of {batch}: lower --batch-size")
    if steps * batch > MOST:
        raise UserError(
            f"{steps} batches of {batch} in one call are more than {MOST} texts: lower "
            "--steps-per-call"
        )


def _chunks(
    lengths: Int[np.ndarray, " N"], size: int, seed: int
) -> Iterator[tuple[int, Int[np.ndarray, " C"]]]:
    """(length, `size` texts of that length), in the order in which an epoch's queues fill up.

    An epoch takes a few operations on arrays, so that a million steps are skipped in seconds.
    """
    queues = {int(length): np.zeros(0, np.int64) for length in np.unique(lengths)}
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(lengths))
        full = []
        for length, left_over in queues.items():
            places = np.flatnonzero(lengths[order] == length)
            queue = np.concatenate([left_over, order[places]])
            ends = range(size, len(queue) + 1, size)
            full += [
                (places[end - 1 - len(left_over)], length, queue[end - size : end]) for end in ends
            ]
            queues[length] = queue[len(ends) * size :]
        for _, length, chosen in sorted(full, key=lambda chunk: chunk[0]):
            yield length, chosen
