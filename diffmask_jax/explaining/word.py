"""The words of a text, with their places and their word pieces."""

from typing import NamedTuple

from diffmask_jax.data.texts import Text, halves_of
from diffmask_jax.data.wordpieces import Encoded


class Word(NamedTuple):
    """A word of the text number `part`, text[start:end], made of the tokens first … last."""

    text: str
    start: int
    end: int
    first: int
    last: int
    part: int = 0


def words_of(text: Text, encoded: Encoded) -> tuple[Word, ...]:
    """The words of an encoded text, each from its first piece to its last."""
    texts = halves_of(text)
    places: dict[int, list[int]] = {}
    for token, word in enumerate(encoded.words):
        if word >= 0:
            places.setdefault(int(word), []).append(token)
    words = []
    for tokens in places.values():
        first, last = encoded.offsets[tokens[0]], encoded.offsets[tokens[-1]]
        if first is not None and last is not None:
            part = int(encoded.parts[tokens[0]])
            spelt = texts[part][first[0] : last[1]]
            words.append(Word(spelt, first[0], last[1], tokens[0], tokens[-1], part))
    return tuple(words)
