"""What a probe says about one text: an object that shows itself, and saves itself."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.replayed import Replayed, rounded
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.heads import REGRESSION, Answer
from diffmask_jax.render import html, png
from diffmask_jax.render.heatmap import Heatmap, make_heatmap
from diffmask_jax.render.marks import Marks
from diffmask_jax.render.page import Entry, page
from diffmask_jax.render.pair import NAMES, QUESTION_NAMES, texts
from diffmask_jax.render.replay import Replay
from diffmask_jax.render.spelling import spell
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.tasks import questions
from diffmask_jax.training.assessment import Assessment, as_json, sentences


class Word(NamedTuple):
    """A word of the text number `part`, text[start:end], made of the tokens first … last."""

    text: str
    start: int
    end: int
    first: int
    last: int
    part: int = 0


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """Keep probabilities of every token at every layer, and the prediction they belong to.

    texts: the text, or both texts of a pair
    keep: P(z ≠ 0), (layers, tokens); the last row has seen the whole network
    layers: the name of each row, W (word embeddings), E (embedding layer), 1, 2, … (blocks)
    tokens: word pieces as the vocabulary spells them, special ones such as [CLS] included
    shown: the same as people write them, ## before what continues a word
    offsets: the (start, end) of each in its text, or None; parts: which text that is, or -1
    words: the words with their place in the text
    labels, outputs: the classes and the probability of each; or a regression's values; of a
        question, (tokens, 2) probabilities that the answer starts, and that it ends, there
    answer: what the model says; problem_type: what its outputs mean, as transformers calls it
    gate: "input" (what of the input can go, given the layers so far) or "hidden" (which states)
    cut_to: how many tokens a question's passage was cut to fit in; None if it was not cut
    gold: the answers to a question that people gave, where they are known
    replayed: what the model says from what is kept at each layer; None if it was not asked
    assessment: what to think of the probe that made it; None where that is not known
    """

    texts: tuple[str, ...]
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    offsets: tuple[tuple[int, int] | None, ...]
    parts: tuple[int, ...]
    words: tuple[Word, ...]
    layers: tuple[str, ...]
    keep: Float[np.ndarray, "L T"]
    labels: tuple[str, ...]
    outputs: Float[np.ndarray, "..."]
    answer: Answer
    problem_type: str
    gate: str
    cut_to: int | None = None
    gold: tuple[questions.Answer, ...] = ()
    replayed: Replayed | None = None
    assessment: Assessment | None = None

    @property
    def text(self) -> str:
        """The text, or the first of a pair."""
        return self.texts[0]

    @property
    def headline(self) -> str:
        """What is explained, in a line: the text, both texts of a pair, or the question."""
        return " / ".join(self.texts) if self.answer.span is None else self.text

    @property
    def prediction(self) -> str | tuple[str, ...] | float | tuple[float, ...]:
        """The most probable class, all labels that are set, a regression's value or an answer."""
        return self.answer.decision

    @property
    def probabilities(self) -> Float[np.ndarray, "..."] | None:
        """The probability of every class or label, or of starts and ends; None for a regression."""
        return None if self.problem_type == REGRESSION.problem_type else self.outputs

    @property
    def word_keep(self) -> Float[np.ndarray, "L W"]:
        """Keep probability of each word: the largest among its pieces, for one leaks the word."""
        pieces = [self.keep[:, word.first : word.last + 1].max(axis=1) for word in self.words]
        return np.stack(pieces, axis=1)

    def with_gold(self, answers: Sequence[questions.Answer]) -> "Explanation":
        """The same, with the answers that people gave to its question."""
        return dataclasses.replace(self, gold=tuple(dict.fromkeys(answers)))

    @property
    def marks(self) -> Marks:
        """Which tokens are of the predicted answer to a question, and which of a gold one."""
        tokens, span = range(len(self.tokens)), self.answer.span
        return Marks(
            predicted=tuple(span is not None and span.first <= at <= span.last for at in tokens),
            gold=tuple(map(self._is_gold, tokens)),
        )

    def _is_gold(self, token: int) -> bool:
        place = self.offsets[token]
        if place is None or self.parts[token] != PASSAGE:
            return False
        start, end = place
        return any(answer.start < end and start < answer.stop for answer in self.gold)

    def heatmap(self) -> Heatmap:
        """Itself as what the renderings draw."""
        gold = " or ".join(f"“{text}”" for text in dict.fromkeys(a.text for a in self.gold))
        cut = f"; the passage was cut, to {self.cut_to} word pieces with its question"
        return make_heatmap(
            title=self.answer.line + f", gold {gold}" * bool(gold),
            caption=f"which {GATES[self.gate].masks} the prediction needs"
            + cut * (self.cut_to is not None),
            tokens=self.shown,
            rows=self.layers,
            values=self.keep,
            parts=self.parts,
            names=NAMES if self.answer.span is None else QUESTION_NAMES,
            marks=self.marks,
        )

    def entry(self) -> Entry:
        """Itself as what a page shows of one text."""
        spellings = []
        for _, run in texts(self.parts):
            tokens = slice(run.start, run.stop)
            number = max(0, *self.parts[tokens])
            places = self.offsets[tokens]
            spellings.append(spell(self.texts[number], self.shown[tokens], places))
        return Entry(self.heatmap(), tuple(spellings), self.replay())

    def replay(self) -> Replay | None:
        """What the model still says at every layer, in words; None if it was not asked."""
        if self.replayed is None:
            return None
        shares = self.replayed.probability
        return Replay(
            whole=self.answer.line,
            answers=tuple(answer.line for answer in self.replayed.answers),
            kept=tuple((self.keep > 0.5).sum(axis=1).tolist()),
            tokens=len(self.tokens),
            divergence=tuple(self.replayed.divergence.tolist()),
            turned=tuple((self.replayed.agreement < 1).tolist()),
            probability=None if shares is None else tuple(shares.tolist()),
            whole_probability=self.replayed.whole,
        )

    def to_dict(self) -> dict[str, Any]:
        """Itself as JSON types; one line of a .jsonl file."""
        return {
            **self._what_was_said(),
            "gate": self.gate,
            "layers": list(self.layers),
            "tokens": list(self.tokens),
            "shown": list(self.shown),
            "offsets": list(self.offsets),
            "parts": list(self.parts),
            "words": [word._asdict() for word in self.words],
            "keep": [rounded(row) for row in self.keep],
            **({} if self.replayed is None else {"replayed": self.replayed.to_dict()}),
            **({} if self.assessment is None else {"probe": as_json(self.assessment)}),
        }

    def _what_was_said(self) -> dict[str, Any]:
        """The texts, and what the model makes of them."""
        if (span := self.answer.span) is not None:
            starts, ends = self.outputs.T
            question, passage = self.texts
            return {
                "question": question,
                "passage": passage,
                "prediction": self.prediction,
                "answer": span._asdict() | {"probability": round(span.probability, 4)},
                "gold": [answer._asdict() for answer in self.gold],
                "cut_to": self.cut_to,
                "probabilities": {"start": rounded(starts), "end": rounded(ends)},
            }
        pair = {"pair": self.texts[1]} if len(self.texts) > 1 else {}
        what = "outputs" if self.probabilities is None else "probabilities"
        return {
            "text": self.text,
            **pair,
            "prediction": self.prediction,
            what: dict(zip(self.labels, rounded(self.outputs), strict=True)),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write itself; .json, .html or .png says as what.

        Raises: UserError for another ending, or if the file cannot be written.
        """
        ending = Path(path).suffix
        if ending == ".json":
            write_atomically(path, dumps(self.to_dict(), indent=1, plain=False) + "\n")
        elif ending == ".html":
            write_atomically(path, page_of([self], self.headline))
        elif ending == ".png":
            png.write_png(self.heatmap(), path)
        else:
            raise UserError(f"cannot save {path}: name it .json, .html or .png")

    def _repr_html_(self) -> str:
        return html.fragment(self.heatmap())

    def __repr__(self) -> str:
        words = zip(self.words, self.word_keep[-1], strict=True)
        kept = ", ".join(f"{word.text} {keep:.2f}" for word, keep in words)
        return f"Explanation({self.prediction!r}, kept at the last layer: {kept})"


def page_of(explanations: Sequence[Explanation], title: str) -> str:
    """A page of explanations by one probe, and what to think of it."""
    entries = [explanation.entry() for explanation in explanations]
    (first, *_) = explanations
    seen = first.assessment
    return page(entries, title, None if seen is None else (seen.answer, sentences(seen)))


def words_of(text: Text, encoded: Encoded) -> tuple[Word, ...]:
    """The tokenizer's words, each from its first piece to its last."""
    texts = (text,) if isinstance(text, str) else text
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
