"""Figure 14 and the nouns in answers: what a part of speech has to do with being kept."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffmask_jax.analysis import token_groups
from diffmask_jax.analysis.answer_nouns import NounShare, noun_share
from diffmask_jax.analysis.token_groups import Difference, Group
from diffmask_jax.tasks.question_tags import UNIVERSAL, QuestionTags, piece_tags
from experiments.squad.study import Study

LONG_KEPT = {"PROPN", "PUNCT"}
SOON_DROPPED = {"ADP", "CCONJ", "SCONJ"}
PUNCTUATION = {"PUNCT"}
TEXTS = {"question": (0,), "passage": (1,), "both": (-1, 0, 1)}


class Tagged(NamedTuple):
    """Figure 14: Σ keep over layers by part of speech.

    panels: the question's, the passage's and both texts' tokens, the longest kept first; special
        tokens are only in the last
    long_minus_soon: proper nouns and punctuation minus adpositions and conjunctions
    punctuation_minus_rest: punctuation minus all other words
    """

    panels: dict[str, list[Group]]
    long_minus_soon: Difference
    punctuation_minus_rest: Difference


def tags_of_pieces(study: Study, tags: Sequence[QuestionTags]) -> list[tuple[str, ...]]:
    """The part of speech of every piece; the separators are "[SEP] 1" and "[SEP] 2"."""
    return [
        tuple(_numbered(piece_tags(encoded, tagged), encoded.parts < 0))
        for encoded, tagged in zip(study.data.encoded, tags, strict=True)
    ]


def _numbered(names: Sequence[str], special: Bool[np.ndarray, " T"]) -> Iterator[str]:
    """The names, with numbers for special tokens that occur more than once."""
    total = Counter(name for name, is_special in zip(names, special, strict=True) if is_special)
    seen: Counter[str] = Counter()
    for name, is_special in zip(names, special, strict=True):
        seen[name] += bool(is_special)
        yield f"{name} {seen[name]}" if is_special and total[name] > 1 else name


def by_tag(
    values: Sequence[Float[np.ndarray, " _"]],
    pieces: Sequence[tuple[str, ...]],
    parts: Sequence[np.ndarray],
    passages: Sequence[str],
) -> Tagged:
    """Figure 14. values: Σ keep over layers of every piece; pieces: their parts of speech."""
    panels = {}
    for text, wanted in TEXTS.items():
        chosen = [np.isin(own, wanted) for own in parts]
        groups = token_groups.by_group(
            [value[own] for value, own in zip(values, chosen, strict=True)],
            [
                [name for name, is_own in zip(names, own, strict=True) if is_own]
                for names, own in zip(pieces, chosen, strict=True)
            ],
            passages,
        )
        panels[text] = sorted(groups.values(), key=lambda group: -group.mean)
    compare = functools.partial(token_groups.difference, values, pieces, passages)
    return Tagged(
        panels,
        long_minus_soon=compare(high=LONG_KEPT, low=SOON_DROPPED),
        punctuation_minus_rest=compare(high=PUNCTUATION, low=UNIVERSAL - PUNCTUATION),
    )


def nouns(study: Study, tags: Sequence[QuestionTags]) -> NounShare:
    """The share of nouns in the gold answers."""
    return noun_share(study.questions, tags)
