"""Many texts, explained in order and in portions, so that memory does not grow with their number.

Each portion is padded and batched by itself: explanations do not depend on where one started.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import BATCH, READ_AHEAD, Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime.plain_lines import EVERY, PlainLines
from diffmask_jax.tasks.task import Examples, Source

PORTION = READ_AHEAD * BATCH  # texts


class EncodedSource(NamedTuple):
    """N examples with their word pieces, in portions.

    Attributes:
      size: the number of examples, N.
      portions: (done) -> the examples after the first `done`, a multiple of PORTION, in order.
    """

    size: int
    portions: Callable[[int], Iterable[tuple[Examples, list[Encoded]]]]


def encoded_source(model: Classifier, source: Source, truncate: bool) -> EncodedSource:
    """Examples as a model reads them: encoded once if they are one portion, else at every reading.

    Raises: UserError as `Classifier.encode` does, now or while they are read.
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
    """Check every text before the first is explained; returns 16 digits that identify the output.

    They depend on the texts, their rows and gold answers, the tokenizer, the model and the probe.
    For a single portion, which is never resumed, model and probe are left out.

    Raises: UserError as `encoded_source` does.
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
    """The row and the explanation of every text in order, with a progress bar or plain lines.

    The explanations of questions include the examples' gold answers.

    replay: include the model's answers from only what is kept at each layer
    done: how many texts to skip, a multiple of PORTION
    """
    kind = explainer.model.head.examples
    many = texts.size > 1  # the bar of a single text need not stay on the screen
    with tqdm(
        total=texts.size, initial=done, desc="explain", unit=f" {kind}", disable=None, leave=many
    ) as bar:
        lines = PlainLines(bar, EVERY)
        for portion, encoded in texts.portions(done):
            found = explainer.explanations(portion.texts, encoded, replay, bar.update)
            done += len(found)
            if done < texts.size:
                lines.say_if_due(f"explain: {done} of {texts.size} {kind}")
            if portion.gold is not None and explainer.model.head.spans:
                pairs = zip(found, portion.gold, strict=True)
                found = [explanation.with_gold(answers) for explanation, answers in pairs]
            yield from zip(portion.rows, found, strict=True)
