"""The work of all contenders of a race: one game, one start, the same batches and layers."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from diffmask_jax.data import batches
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.objective import Game
from diffmask_jax.game.players import Players, Rates
from diffmask_jax.game.steps import LAYERS, DrawLayer
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.bert import BERT
from diffmask_jax.models.config import EncoderConfig
from diffmask_jax.training.config import RunConfig, run_config
from diffmask_jax.training.setup import (
    blank_probe,
    make_game,
    players_of,
    rates_of,
    state_widths,
)


class Setup(NamedTuple):
    """A game before its first step: today's default, or the authors'.

    sizes: those of the model
    probe: the JAX parameters that every contender starts from
    padded: the length to which the authors pad all texts
    """

    classifier: Classifier
    sizes: EncoderConfig
    config: RunConfig
    game: Game
    rates: Rates
    probe: Any
    key: Key[Array, ""]
    padded: int

    @property
    def draw_layer(self) -> DrawLayer:
        """One layer per example, or one per batch."""
        return LAYERS[self.config.layers](len(self.game.model.layers))

    @property
    def reads(self) -> int | None:
        """How many rows of the last state the head reads, from the first; None for all."""
        return None if self.classifier.head.spans else 1

    @property
    def players(self) -> Players:
        """The players of the game."""
        return players_of(self.config)


class Chunk(NamedTuple):
    """The batches of one call, all of one length, and the layers that are played on them.

    number: of the chunk, which determines the numbers of its steps
    layers: (steps,) or (steps, B)
    """

    number: int
    batch: Batch
    layers: Int[np.ndarray, "steps ..."]

    @property
    def length(self) -> int:
        """T, padding included."""
        return self.batch.inputs.valid.shape[-1]


Alone = Callable[[str], tuple[Setup, Sequence[Encoded], Chunk]]
"""A precision -> a game, its texts, and the chunk by which the memory of training is measured. It
is called in a process of its own, to which it must be picklable."""


def prepare(
    classifier: Classifier,
    gate: str,
    precision: str = "float32",
    *,
    batch: int = 64,
    steps: int = 4,
    padded: int = 84,
    setting: str = "settling",
) -> Setup:
    """A game with a blank probe, whose values do not affect the speed.

    setting: "settling", all depths in every batch, or "authors", one layer per batch

    Raises: UserError if the model is not a BERT.
    """
    if classifier.architecture.model_type != BERT.model_type:
        raise UserError(f"{classifier.path} is not a BERT, which the race is about")
    sizes = classifier.config
    config = run_config(
        classifier.path,
        "sst",
        gate=gate,
        setting=setting,
        sparsity="count",
        batch_size=batch,
        steps_per_call=steps,
        precision=precision,
    )
    made = classifier.architecture.model
    network = made(sizes, classifier.network.family, config.precision, config.remat)
    classifier = classifier._replace(network=network)
    game = make_game(config, network, sizes.width)
    key = jax.random.key(config.seed)
    probe = blank_probe(game, state_widths(classifier), key)
    return Setup(classifier, sizes, config, game, rates_of(config), probe, key, padded)


def chunks(setup: Setup, texts: Sequence[Encoded]) -> Iterator[Chunk]:
    """Training's own endless stream of batches."""
    config, limit = setup.config, setup.sizes.positions
    stream = batches.shuffled(
        texts, config.batch_size, config.steps_per_call, config.seed, limit=limit
    )
    for number, batch in enumerate(stream):
        yield Chunk(number, batch, layers_of(setup, number))


def layers_of(setup: Setup, number: int) -> Int[np.ndarray, "steps ..."]:
    """The layers that `game.steps.step` draws in the steps of a chunk."""
    config = setup.config
    steps = number * config.steps_per_call + jnp.arange(config.steps_per_call)

    def draw(step: Int[Array, ""]) -> Array:
        key, _ = jax.random.split(jax.random.fold_in(setup.key, step))
        return jnp.asarray(setup.draw_layer(key, config.batch_size))

    return np.asarray(jax.vmap(draw)(steps))


def first_step(chunk: Chunk) -> Chunk:
    """Only the first step of a chunk."""
    inputs = jax.tree.map(lambda array: array[:1], chunk.batch.inputs)
    return Chunk(chunk.number, Batch(chunk.batch.indices[:1], inputs), chunk.layers[:1])


def longest(setup: Setup, texts: Sequence[Encoded]) -> Chunk:
    """The longest of the first eight chunks of the stream, which takes the most memory."""
    return max(itertools.islice(chunks(setup, texts), 8), key=lambda chunk: chunk.length)


def deal(stream: Iterator[Chunk], rounds: int, each: int) -> list[list[Chunk]]:
    """The next chunks of a stream as rounds of `each`, with similar lengths."""
    taken = sorted(itertools.islice(stream, rounds * each), key=lambda chunk: chunk.length)
    return [taken[start::rounds] for start in range(rounds)]
