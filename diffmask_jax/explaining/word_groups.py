"""The words of many explanations, grouped by label, place or part of speech."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.analysis.survival import Kept, by_name
from diffmask_jax.analysis.token_groups import layers_kept
from diffmask_jax.data.wordpieces import Encoded, locate
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.models.heads import MULTI_LABEL_HEAD, REGRESSION, SINGLE_LABEL

QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
THIRDS = ("lowest third", "middle third", "highest third")
PARTS = ("first text", "second text")
NO_LABEL = "no label"

Names = Sequence[Sequence[str]]
"""For every text, the names of the groups that it belongs to."""


class Seen(NamedTuple):
    """A word or a special token of a text, and the number of layers that keep it.

    spelt: the word without regard to case
    text: the number of its text
    number: the number of the word in its text, -1 for a special token
    part: its text of a pair, 0 or 1; -1 for a special token
    place: how far into its part it is, in [0, 1)
    layers: Σ_ℓ P(z_ℓ ≠ 0); for a word, of the piece that is kept most at each layer
    """

    spelt: str
    text: int
    number: int
    part: int
    place: float
    layers: float


def words_seen(explanations: Sequence[Explanation]) -> list[Seen]:
    """All words of all texts."""
    return [
        word for text, explanation in enumerate(explanations) for word in _words(text, explanation)
    ]


def specials_seen(explanations: Sequence[Explanation]) -> list[Seen]:
    """All special tokens of all texts, such as `[CLS]`."""
    return [
        Seen(explanation.shown[at], text, -1, -1, 0.0, float(kept))
        for text, explanation in enumerate(explanations)
        for at, kept in enumerate(layers_kept(explanation.keep))
        if explanation.parts[at] < 0
    ]


def _words(text: int, explanation: Explanation) -> Iterator[Seen]:
    kept = layers_kept(explanation.word_keep)
    for part in (0, 1):
        own = [number for number, word in enumerate(explanation.words) if word.part == part]
        for place, number in enumerate(own):
            spelt = explanation.words[number].text.casefold()
            yield Seen(spelt, text, number, part, place / len(own), float(kept[number]))


def kept_by(
    seen: Iterable[Seen],
    sources: Sequence[int],
    names: Callable[[Seen], Iterable[str]],
    least: int = 1,
) -> list[Kept]:
    """`by_name` for words that may have several names each, or none.

    sources: for each text a number; texts of one number count, and are drawn, as one
    """
    named = [(name, word) for word in seen for name in names(word)]
    return by_name(
        [name for name, _ in named],
        [sources[word.text] for _, word in named],
        [word.layers for _, word in named],
        least,
    )


def families(
    explanations: Sequence[Explanation],
    sources: Sequence[int],
    labelled: dict[str, Names],
    tags: Sequence[Sequence[str | None]] | None = None,
) -> dict[str, list[Kept]]:
    """How long the words of each group are kept, for every way of grouping.

    Places are in order; other groups are sorted, those kept longest first.

    sources: as in `kept_by`
    labelled: for every way of grouping texts, such as by gold label, the groups of each text
    tags: for every text the part of speech of each word of its explanation, or None
    """
    words, specials = words_seen(explanations), specials_seen(explanations)
    found = {
        way: kept_by(words, sources, functools.partial(_names_of_text, names))
        for way, names in labelled.items()
    }
    quarters = kept_by(words, sources, lambda word: [QUARTERS[int(4 * word.place)]])
    found["position in the text"] = _in_order(quarters, QUARTERS)
    if any(word.part == 1 for word in words):
        parts = kept_by(words, sources, lambda word: [PARTS[word.part]])
        found["text of the pair"] = _in_order(parts, PARTS)
    if specials:
        found["special tokens"] = kept_by(
            [*words, *specials],
            sources,
            lambda word: [word.spelt if word.part < 0 else "words"],
        )
    if tags is not None:
        found["part of speech"] = kept_by(
            words, sources, lambda word: filter(None, [tags[word.text][word.number]])
        )
    return found


def _in_order(kept: Sequence[Kept], names: Sequence[str]) -> list[Kept]:
    return sorted(kept, key=lambda group: names.index(group.name))


def _names_of_text(names: Names, word: Seen) -> Sequence[str]:
    return names[word.text]


def label_names(problem_type: str, labels: Sequence[str], values: Any) -> Names | None:
    """The groups of texts by their predictions or gold labels; None if these form no groups.

    values: class numbers (N,), zeros and ones (N, C), or real numbers (N, 1), grouped by thirds
    """
    if problem_type == SINGLE_LABEL.problem_type:
        return [[labels[number]] for number in values]
    if problem_type == MULTI_LABEL_HEAD.problem_type:
        sets = [[labels[number] for number in np.flatnonzero(row).tolist()] for row in values]
        return [names or [NO_LABEL] for names in sets]
    if problem_type == REGRESSION.problem_type and len(labels) == 1:
        borders = np.quantile(values, [1 / 3, 2 / 3])
        return [[THIRDS[number]] for number in np.searchsorted(borders, np.ravel(values))]
    return None


def tags_of(explanation: Explanation, encoded: Encoded, tags: Sequence[str]) -> list[str | None]:
    """The part of speech of each word of an explanation, given those of the blank-separated words.

    Words of a second text have none.

    Raises: ValueError if there are not as many tags as such words.
    """
    between = explanation.text.split(" ")  # two blanks have an empty word between them
    given = iter(tags)
    if (count := sum(map(bool, between))) != len(tags):
        raise ValueError(f"{len(tags)} tags for {count} words")
    by_place = [next(given) if word else None for word in between]
    places = locate(encoded, between)
    return [
        by_place[place] if (place := places[word.first]) >= 0 else None
        for word in explanation.words
    ]
