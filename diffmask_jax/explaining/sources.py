"""What resamples of examples are drawn of: questions about one passage go together."""

from collections.abc import Sequence
from typing import NamedTuple

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.data.texts import Text
from diffmask_jax.models.heads import Head


class Sources(NamedTuple):
    """The source of each example; examples of one source are not independent of each other.

    An interval over questions would be too narrow, and a word that occurs once, in the passage of
    five questions, would seem to be in five texts.

    word: what the sources are: texts, or passages
    numbers: that of each example's source
    """

    word: str
    numbers: Sequence[int]

    @property
    def examples(self) -> str:
        """What the examples are called: questions, about passages, or texts."""
        return "questions" if self.word == "passages" else "texts"

    def of(self, chosen: Sequence[int]) -> "Sources":
        """Those of some of the examples."""
        return self._replace(numbers=[self.numbers[number] for number in chosen])


def sources_of(head: Head, texts: Sequence[Text]) -> Sources:
    """Each text by itself; questions by their passages."""
    if not head.spans:
        return Sources("texts", range(len(texts)))
    numbers: dict[str, int] = {}
    return Sources("passages", [numbers.setdefault(text[PASSAGE], len(numbers)) for text in texts])
