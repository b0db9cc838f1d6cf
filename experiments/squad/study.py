"""The questions that the SQuAD experiment measures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffmask_jax.data.batches import Batch, pad
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.tasks.encoded_questions import LONGEST, EncodedQuestions, encode_questions
from diffmask_jax.tasks.questions import Question
from diffmask_jax.training import fingerprint

LENGTHS = (64, 128, 192, 256, 320, 384)
"""The lengths to which texts are padded; `data.batches` has more of them, for more texts."""

DRAW = 0
"""The seed by which questions are drawn; a small sample is part of a larger one."""


class Study(NamedTuple):
    """The questions under study, in the order of their file, with their numbers there."""

    model: Classifier
    data: EncodedQuestions
    numbers: Sequence[int]

    @property
    def questions(self) -> list[Question]:
        """The questions that are not too long."""
        return self.data.questions

    @property
    def passages(self) -> list[str]:
        """The passage of every question; several questions may be about the same one."""
        return [question.passage for question in self.questions]

    @property
    def parts(self) -> list[np.ndarray]:
        """For every question, the text of each piece: 0, 1, or -1 for a special one."""
        return [encoded.parts for encoded in self.data.encoded]

    def content(self) -> list[bytes]:
        """What results follow from: the word pieces and the gold answers."""
        return [*fingerprint.ids_of(self.data.encoded), repr(self.data.spans).encode()]

    def sample(self, count: int) -> list[int]:
        """The numbers of at most so many questions, drawn at random, but always the same."""
        drawn = np.random.default_rng(DRAW).permutation(len(self.questions))
        return sorted(drawn[:count].tolist())

    def at(self, chosen: Sequence[int]) -> "Study":
        """The study of some of the questions."""
        data = self.data._replace(
            questions=[self.data.questions[i] for i in chosen],
            encoded=[self.data.encoded[i] for i in chosen],
            spans=[self.data.spans[i] for i in chosen],
        )
        return self._replace(data=data, numbers=[self.numbers[i] for i in chosen])

    def batches(self, size: int) -> list[Batch]:
        """All questions with their passages, the shortest first, in batches of exactly `size` rows.

        The last batch of a length is filled up with its first text, as in `data.batches`.
        """
        texts, found = self.data.encoded, []
        order = np.argsort([len(text.ids) for text in texts], kind="stable")
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            filled = [texts[i] for i in indices] + [texts[indices[0]]] * (size - len(indices))
            found.append(Batch(indices, pad(filled, self.padded(texts[indices[-1]]))))
        return found

    def padded(self, text: Encoded) -> int:
        """The length to which a text is padded."""
        longest = next(length for length in LENGTHS if length >= len(text.ids))
        return min(longest, self.model.config.positions)


def study_of(model: Classifier, questions: Sequence[Question]) -> Study:
    """The study of any questions, without those that are too long with their passages."""
    limit = min(LONGEST, model.config.positions)
    data = encode_questions(model.tokenizer, questions, limit)
    return Study(model, data, range(len(data.questions)))
