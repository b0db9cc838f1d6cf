"""The explanation of one text by a probe: an object that can show and save itself."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import json_form
from diffmask_jax.explaining.replayed import Replayed, turned
from diffmask_jax.explaining.word import Word
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.answers import Answer
from diffmask_jax.models.heads import REGRESSION
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
from diffmask_jax.render.text import begins, shorten
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.tasks import questions
from diffmask_jax.training.assessment import SAMPLED, Assessment, sentences

if TYPE_CHECKING:  # both are slow to import, and optional
    from matplotlib.axes import Axes
    from pandas import DataFrame

TITLE = 90  # terminal cells of a page's title


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Explanation:
    """Keep probabilities of every token at every layer, and the prediction they belong to.

    texts: the text, or both texts of a pair
    keep: P(z ≠ 0), (layers, tokens); the gates of the last row have seen the whole network
    layers: the name of each row: W (word embeddings), E (embedding layer), 1, 2, … (blocks)
    tokens: word pieces as the vocabulary spells them, including special ones such as [CLS]
    shown: the tokens as people write them, with ## before a piece that continues a word
    offsets: the (start, end) of each token in its text, or None
    parts: the text that each token belongs to, 0 or 1; -1 for special tokens
    words: the words with their places in the text
    labels, outputs: the classes and their probabilities; or a regression's values; for a question,
        (tokens, 2) probabilities that the answer starts, and that it ends, at each token
    answer: the model's answer
    problem_type: the meaning of its outputs, as transformers calls it
    gate: "input" (which inputs can be dropped, judging by the states up to each layer) or "hidden"
        (which states can)
    cut_to: the number of tokens to which it was cut, of a question its passage; None if not cut
    gold: the answers to a question that people gave, if known
    replayed: the model's answers from only what is kept at each layer; None if not requested
    assessment: the verdict on the probe; None if unknown
    doubt: a reason not to trust it: a probe that its run did not keep, or a text of a kind (pair,
        single text) that the probe was not trained on; otherwise None

    Explanations are equal if all of these are.
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
        """What is explained: the text, both texts of a pair, or the question."""
        return " / ".join(self.texts) if self.answer.span is None else self.text

    @property
    def title(self) -> str:
        """The headline in one short line, for the top of a page."""
        return shorten(" ".join(self.headline.split()), TITLE)

    @property
    def prediction(self) -> str | tuple[str, ...] | float | tuple[float, ...]:
        """The most probable class, all labels that are set, a regression's value, or an answer."""
        return self.answer.decision

    @property
    def probabilities(self) -> Float[np.ndarray, "..."] | None:
        """The probabilities of classes or labels, or of starts and ends; None for a regression."""
        return None if self.problem_type == REGRESSION.problem_type else self.outputs

    @property
    def word_keep(self) -> Float[np.ndarray, "L W"]:
        """Keep probability of each word: the largest of its pieces, any of which reveals it."""
        pieces = [self.keep[:, word.first : word.last + 1].max(axis=1) for word in self.words]
        return np.stack(pieces, axis=1)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The words of the highest keep probabilities at the last layer, with these probabilities.

        They come in falling order; ties in the order of the text.
        """
        order = np.argsort(-self.word_keep[-1], kind="stable")[:count]
        return [(self.words[at].text, float(self.word_keep[-1, at])) for at in order]

    def with_gold(self, answers: Sequence[questions.Answer]) -> "Explanation":
        """The same explanation, with the answers that people gave to its question."""
        return dataclasses.replace(self, gold=tuple(dict.fromkeys(answers)))

    @property
    def marks(self) -> Marks:
        """The tokens of the predicted answer to a question, and those of the gold answers."""
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
        """The explanation as the renderings draw it."""
        gold = " or ".join(f"“{text}”" for text in dict.fromkeys(a.text for a in self.gold))
        what = f"which {GATES[self.gate].masks} the prediction needs"
        return make_heatmap(
            title=self.answer.line + f", gold {gold}" * bool(gold),
            caption="; ".join(filter(None, [what, self.cut, *self.doubts])),
            tokens=self.shown,
            rows=self.layers,
            values=self.keep,
            parts=self.parts,
            names=NAMES if self.answer.span is None else QUESTION_NAMES,
            marks=self.marks,
            starts=self._starts(),
        )

    @property
    def cut(self) -> str | None:
        """To how many word pieces the text was cut, in words; None if it was not."""
        if self.cut_to is None:
            return None
        what = "the pair was cut to" if len(self.texts) > 1 else "the text was cut to"
        if self.answer.span is not None:
            what = "the passage was cut to fit with its question in"
        return f"{what} {self.cut_to} word pieces"

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a reader of a single picture must know to trust its probe, or not."""
        is_bad = self.assessment is not None and self.assessment.answer == "not good"
        told = self.doubt, "by a probe that is not good" if is_bad else None
        return tuple(filter(None, told))

    def _starts(self) -> list[bool]:
        """For each token whether it begins a word: one of ### does, although it begins with ##."""
        firsts = {word.first for word in self.words}
        return [begins(token) or at in firsts for at, token in enumerate(self.shown)]

    def entry(self) -> Entry:
        """The explanation as a page shows it."""
        spellings = []
        for _, run in texts(self.parts):
            tokens = slice(run.start, run.stop)
            number = max(0, *self.parts[tokens])
            places = self.offsets[tokens]
            spellings.append(spell(self.texts[number], self.shown[tokens], places))
        return Entry(self.heatmap(), tuple(spellings), self.replay())

    def replay(self) -> Replay | None:
        """The model's answers at every layer, in words; None if not requested."""
        if self.replayed is None:
            return None
        answers, shares = self.replayed.answers, self.replayed.probability
        return Replay(
            whole=self.answer.line,
            answers=tuple(answer.line for answer in answers),
            kept=tuple((self.keep > 0.5).sum(axis=1).tolist()),
            tokens=len(self.tokens),
            divergence=tuple(self.replayed.divergence.tolist()),
            turned=tuple(turned(self.answer, answers, self.replayed.agreement).tolist()),
            probability=None if shares is None else tuple(shares.tolist()),
            whole_probability=self.replayed.whole,
        )

    def to_frame(self) -> "DataFrame":
        """A pandas table with one row per token, and a column of keep probabilities per layer.

        The first columns are the token, how people write it, its text (0 or 1; -1: special), and
        its place there (text[start:end]; missing if it has none).

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
        """Draw the heat map with matplotlib, the input at the bottom, and return the axes.

        ax: where to draw; by default in a new figure of a suitable size.
        """
        return draw_on(self.heatmap(), ax)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON types: one line of a .jsonl file."""
        return json_form.json_of(vars(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file of the kind that its ending names: .json, .html, .png, .svg, .pdf or .tex.

        Raises: UserError for another ending, or if the file cannot be written.
        """
        path = os.path.expanduser(path)
        ending = Path(path).suffix
        if ending == ".json":
            write_atomically(path, dumps(self.to_dict(), indent=1, plain=False) + "\n")
        elif ending == ".html":
            write_atomically(path, page_of([self.entry()], self.title, self.assessment))
        elif ending in ENDINGS:
            write_picture(self.heatmap(), path)
        else:
            raise UserError(
                f"cannot save {path}: its name must end in .json, .html, {', '.join(ENDINGS)}"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Explanation":
        """Read a .json file written by `save`; its numbers are rounded to four decimals.

        Raises: UserError if there is no such file, or it contains anything else.
        """
        path = Path(os.path.expanduser(path))
        return cls(**json_form.fields_of(json_files.read(path), str(path)))

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Explanation":
        """The inverse of `to_dict`. Raises: UserError as `load` does."""
        return cls(**json_form.fields_of(told, "the object"))

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
    """A page of explanations by one probe, and the verdict on it."""
    if assessment is None:
        return page(entries, title)
    return page(entries, title, (f"{assessment.answer} ({SAMPLED})", sentences(assessment)))


def _hashable(value: Any) -> Any:
    """A hashable value that is equal for equal values, which may contain arrays."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple((name, _hashable(part)) for name, part in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, tuple) else value
