"""What a probe says about one text: an object that shows itself, and saves itself."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.errors import UserError
from diffmask_jax.render import html, png
from diffmask_jax.render.heatmap import Heatmap, make_heatmap
from diffmask_jax.runtime.files import write_atomically


class Word(NamedTuple):
    """A word of the text, text[start:end], made of the tokens first … last."""

    text: str
    start: int
    end: int
    first: int
    last: int


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """Keep probabilities of every token at every layer, and the prediction they belong to.

    keep: P(z ≠ 0), (layers, tokens); the last row has seen the whole network
    layers: the name of each row, W (word embeddings), E (embedding layer), 1, 2, … (blocks)
    tokens: word pieces with [CLS] and [SEP]; offsets: their (start, end) in the text, or None
    words: the words with their place in the text
    labels, probabilities: the classes and what the model gives them
    gate: "input" (what of the input can go, given the layers so far) or "hidden" (which states)
    """

    text: str
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int] | None, ...]
    words: tuple[Word, ...]
    layers: tuple[str, ...]
    keep: Float[np.ndarray, "L T"]
    labels: tuple[str, ...]
    probabilities: Float[np.ndarray, " C"]
    gate: str

    @property
    def prediction(self) -> str:
        """The most probable label."""
        return self.labels[int(np.argmax(self.probabilities))]

    @property
    def word_keep(self) -> Float[np.ndarray, "L W"]:
        """Keep probability of each word: the largest among its pieces, for one leaks the word."""
        pieces = [self.keep[:, word.first : word.last + 1].max(axis=1) for word in self.words]
        return np.stack(pieces, axis=1)

    def heatmap(self) -> Heatmap:
        """Itself as what the renderings draw."""
        what = "input tokens" if self.gate == "input" else "hidden states"
        sure = float(np.max(self.probabilities))
        return make_heatmap(
            title=f"“{self.prediction}” with probability {sure:.2f}",
            caption=f"which {what} the prediction needs",
            tokens=self.tokens,
            rows=self.layers,
            values=self.keep,
        )

    def to_dict(self) -> dict[str, Any]:
        """Itself as JSON types; one line of a .jsonl file."""
        return {
            "text": self.text,
            "prediction": self.prediction,
            "probabilities": dict(zip(self.labels, _rounded(self.probabilities), strict=True)),
            "gate": self.gate,
            "layers": list(self.layers),
            "tokens": list(self.tokens),
            "offsets": list(self.offsets),
            "words": [word._asdict() for word in self.words],
            "keep": [_rounded(row) for row in self.keep],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write itself; .json, .html or .png says as what.

        Raises: UserError for another ending, or if the file cannot be written.
        """
        ending = Path(path).suffix
        if ending == ".json":
            write_atomically(path, json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n")
        elif ending == ".html":
            write_atomically(path, html.page([self.heatmap()], self.text))
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


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
