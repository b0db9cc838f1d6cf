"""Many texts explained in their order, a portion at a time: memory does not grow with their number.

A portion is padded and batched by itself: its explanations do not depend on where one began.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import AHEAD, BATCH, Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.runtime.messages import say
from diffmask_jax.tasks.task import Examples, Source

PORTION = AHEAD * BATCH  # texts
EVERY = 30.0  # seconds between two plain lines


def checked(explainer: Explainer, source: Source, truncate: bool, replay: bool) -> str:
    """Look at every text before the first is explained; 16 digits that stand for what will be said.

    They are others for other texts, rows or gold answers, another tokenizer, model or probe. Of
    less than one portion, which is never gone on with, model and probe do not count.

    Raises: UserError as of `Classifier.encode`.
    """
    said = explainer.config.gate, explainer.model.labels, explainer.assessment, explainer.doubt
    digest = hashlib.sha256(repr((*said, replay)).encode())
    if source.size >= PORTION:
        for leaf in jax.tree.leaves(explainer.params):
            digest.update(np.asarray(leaf).tobytes())
    with tqdm(total=source.size, desc="read", unit="text", disable=None, leave=False) as bar:
        for portion in source.portions(PORTION):
            gold = portion.gold if explainer.model.head.spans else None
            digest.update(repr((portion.rows, portion.texts, gold)).encode())
            for pieces in _encoded(explainer, portion, truncate):
                digest.update(pieces.ids.tobytes())
            bar.update(len(portion.rows))
    return digest.hexdigest()[:16]


def explained(
    explainer: Explainer, source: Source, truncate: bool, replay: bool = False, done: int = 0
) -> Iterator[tuple[str, Explanation]]:
    """The row and the explanation of every text in its order, with word of how far it has come.

    Those of questions have the gold answers of the examples.

    replay: with what the model says at every layer from what is kept there.
    done: so many are left out, a multiple of PORTION.
    """
    many = source.size > 1  # the bar of one text is in nobody's way once it is explained
    with tqdm(
        total=source.size, initial=done, desc="explain", unit="text", disable=None, leave=many
    ) as bar:
        advance = _Told(bar, source.size, done).advance
        for number, portion in enumerate(source.portions(PORTION)):
            if (number + 1) * PORTION <= done:
                continue
            encoded = _encoded(explainer, portion, truncate)
            found = explainer.explanations(portion.texts, encoded, replay, advance)
            if portion.gold is not None and explainer.model.head.spans:
                pairs = zip(found, portion.gold, strict=True)
                found = [explanation.with_gold(answers) for explanation, answers in pairs]
            yield from zip(portion.rows, found, strict=True)


def _encoded(explainer: Explainer, portion: Examples, truncate: bool) -> list[Encoded]:
    return explainer.model.encode(portion.texts, truncate, portion.rows)


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
