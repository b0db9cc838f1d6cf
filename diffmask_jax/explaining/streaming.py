"""Many texts explained in their order, a portion at a time: memory does not grow with their number.

A portion is padded and batched by itself: its explanations do not depend on where one began.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import BATCH, READ_AHEAD, Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime.messages import say
from diffmask_jax.tasks.task import Examples, Source

PORTION = READ_AHEAD * BATCH  # texts
EVERY = 30.0  # seconds between two plain lines


class EncodedSource(NamedTuple):
    """N examples with the word pieces that a model makes of them, a portion at a time.

    Attributes:
      size: how many there are, N.
      portions: (done) -> those behind the first `done`, a multiple of PORTION, in their order.
    """

    size: int
    portions: Callable[[int], Iterable[tuple[Examples, list[Encoded]]]]


def encoded_source(model: Classifier, source: Source, truncate: bool) -> EncodedSource:
    """Examples as a model reads them: at once and once, if one portion is all, else each time anew.

    Raises: UserError as of `Classifier.encode`, then or later.
    """

    def portions(done: int) -> Iterator[tuple[Examples, list[Encoded]]]:
        for number, portion in enumerate(source.portions(PORTION), start=1):
            if number * PORTION > done:
                yield portion, model.encode(portion.texts, truncate, portion.rows)

    if source.size > PORTION:
        return EncodedSource(source.size, portions)
    whole = list(portions(0))
    return EncodedSource(source.size, lambda done: whole[done // PORTION :])


def checked(explainer: Explainer, texts: EncodedSource, replay: bool) -> str:
    """Look at every text before the first is explained; 16 digits that stand for what will be said.

    They are others for other texts, rows or gold answers, another tokenizer, model or probe. Of
    less than one portion, which is never gone on with, model and probe do not count.

    Raises: UserError as of `encoded_source`.
    """
    said = explainer.config.gate, explainer.model.labels, explainer.assessment, explainer.doubt
    digest = hashlib.sha256(repr((*said, replay)).encode())
    if texts.size >= PORTION:
        for leaf in jax.tree.leaves(explainer.params):
            digest.update(np.asarray(leaf).tobytes())
    with tqdm(total=texts.size, desc="read", unit="text", disable=None, leave=False) as bar:
        for portion, encoded in texts.portions(0):
            gold = portion.gold if explainer.model.head.spans else None
            digest.update(repr((portion.rows, portion.texts, gold)).encode())
            for pieces in encoded:
                digest.update(pieces.ids.tobytes())
            bar.update(len(portion.rows))
    return digest.hexdigest()[:16]


def explained(
    explainer: Explainer, texts: EncodedSource, replay: bool = False, done: int = 0
) -> Iterator[tuple[str, Explanation]]:
    """The row and the explanation of every text in its order, with word of how far it has come.

    Those of questions have the gold answers of the examples.

    replay: with what the model says at every layer from what is kept there.
    done: so many are left out, a multiple of PORTION.
    """
    many = texts.size > 1  # the bar of one text is in nobody's way once it is explained
    with tqdm(
        total=texts.size, initial=done, desc="explain", unit="text", disable=None, leave=many
    ) as bar:
        advance = _Told(bar, texts.size, done).advance
        for portion, encoded in texts.portions(done):
            found = explainer.explanations(portion.texts, encoded, replay, advance)
            if portion.gold is not None and explainer.model.head.spans:
                pairs = zip(found, portion.gold, strict=True)
                found = [explanation.with_gold(answers) for explanation, answers in pairs]
            yield from zip(portion.rows, found, strict=True)


class _Told:
    """How far many texts have come: a bar in a terminal, elsewhere a line now and then."""

    def __init__(
        self, bar: Any, count: int, done: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bar, self._count, self._done, self._clock = bar, count, done, clock
        self._spoke = clock()

    def advance(self) -> None:
        """One more is explained."""
        self._bar.update()
        self._done += 1
        many = self._bar.disable and self._done % PORTION == 0 and self._done < self._count
        if many and (now := self._clock()) - self._spoke >= EVERY:
            self._spoke = now
            say(f"explain: {self._done} of {self._count} texts")
