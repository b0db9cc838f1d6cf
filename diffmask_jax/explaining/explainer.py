"""Explaining texts with a trained probe: one forward pass gives every layer's answer."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.data import batches, wordpieces
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explanation import Explanation, Word
from diffmask_jax.game import probes
from diffmask_jax.game.objective import Game, clean_pass, log_keep_everywhere
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.runtime import devices
from diffmask_jax.training import run_folder
from diffmask_jax.training.run_folder import RunConfig

BATCH = 32


class Found(NamedTuple):
    """One batch: class probabilities, and keep probabilities at every layer."""

    probabilities: Float[Array | np.ndarray, "B C"]
    keep: Float[Array | np.ndarray, "L B T"]


class Explainer:
    """A frozen classifier and its trained probe.

    >>> explainer = Explainer.from_pretrained("runs/sst-input")  # doctest: +SKIP
    >>> explainer("A fast , funny , highly enjoyable movie .")  # doctest: +SKIP
    """

    def __init__(self, config: RunConfig, model: Checkpoint, probe_params: Any) -> None:
        self.config = config
        self.model = model
        self.game = run_folder.make_game(config, model.model, model.config.width)
        self._mesh = devices.data_mesh()
        self.params = devices.place((model.params, probe_params), self._mesh, devices.WHOLE)
        self._find = devices.spread(functools.partial(_find, self.game), self._mesh)

    @classmethod
    def from_pretrained(cls, run: str | Path, model: str | Path | None = None) -> "Explainer":
        """The kept probe of a run folder, on the model it was trained on.

        model: where that model lies now, if it was moved.

        Raises: UserError if the run or the model cannot be read, or do not fit together.
        """
        folder = Path(run)
        config = run_folder.load_config(folder)
        params, _ = run_folder.load_probe(folder)
        checkpoint = run_folder.load_model(config, model)
        explainer = cls(config, checkpoint, params)
        if jax.tree.map(np.shape, params) != _probe_shapes(explainer.game, checkpoint):
            raise UserError(
                f"the probe in {folder} does not fit {checkpoint.path}: it is for another model"
            )
        return explainer

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is a Sequence[str], but comes first
        self, texts: str, *, truncate: bool = False
    ) -> Explanation: ...
    @overload
    def __call__(self, texts: Sequence[str], *, truncate: bool = False) -> list[Explanation]: ...
    def __call__(
        self, texts: str | Sequence[str], *, truncate: bool = False
    ) -> Explanation | list[Explanation]:
        """Explain one text, or many in batches.

        truncate: cut a text that is longer than the model takes instead of refusing it.

        Raises: UserError for an empty text or one that is too long.
        """
        if isinstance(texts, str):
            return self([texts], truncate=truncate)[0]
        encoded = self.encode(texts, truncate)
        found: list[Explanation | None] = [None] * len(encoded)
        for index, explanation in self.stream(texts, encoded):
            found[index] = explanation
        return [explanation for explanation in found if explanation is not None]

    def encode(self, texts: Sequence[str], truncate: bool = False) -> list[Encoded]:
        """Word pieces of each text, none longer than the model takes.

        Raises: UserError for an empty text, or one too long where truncate is false.
        """
        return wordpieces.encode_within(
            self.model.tokenizer, texts, self.model.config.positions, truncate
        )

    def stream(
        self, texts: Sequence[str], encoded: Sequence[Encoded]
    ) -> Iterator[tuple[int, Explanation]]:
        """(index, explanation) of every text as its batch is done: shortest first."""
        size = devices.round_up(BATCH if len(encoded) > 1 else 1, self._mesh)
        limit = self.model.config.positions
        for batch in batches.in_order(encoded, size, limit):
            found = jax.device_get(self._find(*self.params, batch.inputs))
            for row, index in enumerate(batch.indices):
                yield int(index), self._explanation(texts[index], encoded[index], found, row)

    def _explanation(self, text: str, encoded: Encoded, found: Found, row: int) -> Explanation:
        return Explanation(
            text=text,
            tokens=encoded.tokens,
            offsets=encoded.offsets,
            words=_words(text, encoded),
            layers=self.model.model.layers,
            keep=np.asarray(found.keep)[:, row, : len(encoded.tokens)],
            labels=self.model.labels,
            probabilities=np.asarray(found.probabilities)[row],
            gate=self.config.gate,
        )


def _find(game: Game, model_params: Any, probe_params: Any, inputs: TextInputs) -> Found:
    clean = clean_pass(game, model_params, inputs)
    keep = jnp.exp(log_keep_everywhere(game, probe_params, clean))
    return Found(jax.nn.softmax(clean.logits), keep)


def _words(text: str, encoded: Encoded) -> tuple[Word, ...]:
    """The tokenizer's words, each from its first piece to its last."""
    places: dict[int, list[int]] = {}
    for token, word in enumerate(encoded.words):
        if word >= 0:
            places.setdefault(int(word), []).append(token)
    words = []
    for tokens in places.values():
        first, last = encoded.offsets[tokens[0]], encoded.offsets[tokens[-1]]
        if first is not None and last is not None:
            words.append(Word(text[first[0] : last[1]], first[0], last[1], tokens[0], tokens[-1]))
    return tuple(words)


def _probe_shapes(game: Game, model: Checkpoint) -> Any:
    """What the parameters of a probe for this model look like; its states are all of one width."""
    layers, width = len(model.model.layers), model.config.width
    state = jnp.zeros((1, 1, width))
    one = jax.eval_shape(
        lambda: probes.init(jax.random.key(0), game.probe, (state,), [state[0, 0]])
    )
    gate, baselines = jax.tree.map(np.shape, one["gates"][0]), game.probe.baselines(layers)
    return {"gates": [gate] * layers, "baselines": [(width,)] * baselines}
