"""A data set surveyed by a probe: every text explained, and answered from only what is kept."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from diffmask_jax.analysis.faithfulness import Outcome, along_examples
from diffmask_jax.data.batches import put_back
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.models.answers import Answer
from diffmask_jax.runtime.plain_lines import EVERY, PlainLines


class Survey(NamedTuple):
    """N texts at L layers, in the order in which they were given.

    answers: for each text, the model's answers from only what is kept at each layer
    replay: the outputs behind these answers, with gates thresholded at ½
    """

    explanations: list[Explanation]
    answers: list[tuple[Answer, ...]]
    replay: Outcome


def survey(explainer: Explainer, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Survey:
    """Every text explained and replayed. encoded: the texts, as the explainer's model reads them.

    Raises: ValueError if there is no text; UserError if an answer is not finite.
    """
    if not texts:
        raise ValueError("there is no text to survey")
    explanations: dict[int, Explanation] = {}
    answers: dict[int, tuple[Answer, ...]] = {}
    outcomes: list[tuple[np.ndarray, Outcome]] = []
    kind = explainer.model.head.examples
    with tqdm(total=len(texts), desc="survey", unit=f" {kind}", disable=None) as bar:
        lines = PlainLines(bar, EVERY)
        for indices, replies in explainer.answered(encoded, replay=True):
            assert replies.replay is not None
            for row, index in enumerate(indices.tolist()):
                found = explainer.explanation(texts[index], encoded[index], replies, row)
                assert found.replayed is not None
                explanations[index], answers[index] = found, found.replayed.answers
            outcomes.append((indices, replies.replay.outcome))
            bar.update(len(indices))
            lines.say_if_due(f"survey: {len(explanations)} of {len(texts)} {kind}")
    return Survey(
        [explanations[index] for index in range(len(texts))],
        [answers[index] for index in range(len(texts))],
        put_back(outcomes, along_examples),
    )
