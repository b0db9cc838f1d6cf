"""What resamples of examples are drawn of: questions about one passage go together."""

from collections.abc import Sequence

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.data.texts import Text
from diffmask_jax.models.heads import Head


def sources_of(head: Head, texts: Sequence[Text]) -> list[int]:
    """For each text a number, its own; questions about the same passage have the same number.

    They are not independent of each other, so that an interval over questions would be too narrow,
    and a word that occurs once, in the passage of five questions, would seem to be in five texts.
    """
    if not head.spans:
        return list(range(len(texts)))
    numbers: dict[str, int] = {}
    return [numbers.setdefault(text[PASSAGE], len(numbers)) for text in texts]
