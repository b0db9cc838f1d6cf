"""What a probe says about one text: an object that shows itself, and saves itself."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.reading import fields_of
from diffmask_jax.explaining.replayed import Replayed, rounded
from diffmask_jax.explaining.word import Word
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.heads import REGRESSION, Answer
from diffmask_jax.render import html
from diffmask_jax.render.heatmap import Heatmap, make_heatmap
from diffmask_jax.render.heatmap_picture import write_picture
from diffmask_jax.render.marks import Marks
from diffmask_jax.render.page import Entry, page
from diffmask_jax.render.pair import NAMES, QUESTION_NAMES, texts
from diffmask_jax.render.picture import ENDINGS
from diffmask_jax.render.plot import draw_on
from diffmask_jax.render.replay import Replay
from diffmask_jax.render.spelling import spell
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.tasks import questions
from diffmask_jax.training.assessment import SAMPLED, Assessment, as_json, sentences

if TYPE_CHECKING:  # whoever wants neither pays for neither
    from matplotlib.axes import Axes
    from pandas import DataFrame


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
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
    doubt: why not to trust it, of a probe that no run would keep; None else

    Two are equal if all of this is.
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
    doubt: str | None = None

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

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The words kept most at the last layer, the most kept first, with their probability.

        Of words that are kept alike, the first in the text comes first.
        """
        order = np.argsort(-self.word_keep[-1], kind="stable")[:count]
        return [(self.words[at].text, float(self.word_keep[-1, at])) for at in order]

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
            + cut * (self.cut_to is not None)
            + ("" if self.doubt is None else f"; {self.doubt}"),
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

    def to_frame(self) -> "DataFrame":
        """Itself as a pandas table: a row a token, a column of keep probabilities a layer.

        Before these stand the token, what people write for it, its text (0 or 1, -1: special), and
        its place there (text[start:end]; missing where it has none).

        Raises: UserError if pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise UserError("to_frame needs pandas: run `pip install pandas`") from error
        starts, ends = zip(*(place or (None, None) for place in self.offsets), strict=True)
        columns = {
            "token": self.tokens,
            "shown": self.shown,
            "part": self.parts,
            "start": pandas.array(starts, "Int64"),
            "end": pandas.array(ends, "Int64"),
        }
        return pandas.DataFrame(columns | dict(zip(self.layers, self.keep, strict=True)))

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the heat map with matplotlib, the input at the bottom.

        ax: where; a new figure, large enough, unless said. Gives the axes.
        """
        return draw_on(self.heatmap(), ax)

    def to_dict(self) -> dict[str, Any]:
        """Itself as JSON types; one line of a .jsonl file."""
        return {
            **self._what_was_said(),
            "line": self.answer.line,
            "problem_type": self.problem_type,
            **({} if self.doubt is None else {"doubt": self.doubt}),
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
        """Write itself as what the ending says: .json, .html, or .png, .svg, .pdf, .tex (pictures).

        Raises: UserError for another ending, or if the file cannot be written.
        """
        ending = Path(path).suffix
        if ending == ".json":
            write_atomically(path, dumps(self.to_dict(), indent=1, plain=False) + "\n")
        elif ending == ".html":
            write_atomically(path, page_of([self.entry()], self.headline, self.assessment))
        elif ending in ENDINGS:
            write_picture(self.heatmap(), path)
        else:
            raise UserError(f"cannot save {path}: name it .json, .html, {', '.join(ENDINGS)}")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Explanation":
        """What `save` has written as .json: the same but for the fifth decimal.

        Raises: UserError if there is no such file, or it holds something else.
        """
        return cls(**fields_of(json_files.read(Path(path)), str(path)))

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Explanation":
        """What `to_dict` has told, as of a line of a .jsonl file. Raises: UserError as `load`."""
        return cls(**fields_of(told, "the object"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Explanation):
            return NotImplemented
        return _hashable(vars(self)) == _hashable(vars(other))

    def __hash__(self) -> int:
        return hash(_hashable(vars(self)))

    def _repr_html_(self) -> str:
        return html.fragment(self.heatmap())

    def __repr__(self) -> str:
        words = zip(self.words, self.word_keep[-1], strict=True)
        kept = ", ".join(f"{word.text} {keep:.2f}" for word, keep in words)
        return f"Explanation({self.prediction!r}, kept at the last layer: {kept})"


def page_of(entries: Sequence[Entry], title: str, assessment: Assessment | None) -> str:
    """A page of explanations by one probe, and what to think of it."""
    if assessment is None:
        return page(entries, title)
    return page(entries, title, (f"{assessment.answer} ({SAMPLED})", sentences(assessment)))


def _hashable(value: Any) -> Any:
    """What has equal parts, arrays among them, as what is equal and has a hash."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple((name, _hashable(part)) for name, part in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, tuple) else value
