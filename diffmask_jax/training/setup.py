"""A run before its first step: its model, its game, its texts, and its players' first state."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game import players, probes, steps
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, mean_keep, mean_log_keep
from diffmask_jax.game.players import Players, Rates
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.heads import SPANS
from diffmask_jax.models.loading import load_answerer, load_classifier
from diffmask_jax.runtime import devices, distributed
from diffmask_jax.tasks.encoded_examples import EncodedExamples, encode_examples
from diffmask_jax.tasks.task import Examples
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training.config import RunConfig

SPARSITY = {"count": mean_keep, "log": mean_log_keep}
BATCH = 32
SAMPLE = 32  # the texts to whose states a fresh probe is adjusted, or fewer:
POSITIONS = 4096  # the most positions that they may have together, since all states are in memory


def load_model(config: RunConfig, moved: str | Path | None = None) -> Classifier:
    """The network of a run, in the run's precision. moved: where it is now, if not there any more.

    Raises: UserError as `load_classifier` does, or as `load_answerer` for question answering.
    """
    asks = TASKS[config.task].problem_type == SPANS.problem_type
    load = load_answerer if asks else load_classifier
    place = config.model if moved is None else moved
    return load(place, config.precision, config.remat)


def read_split(config: RunConfig, split: str) -> Examples:
    """One split of a run's data.

    Raises: UserError if it cannot be read, or the data has no such split.
    """
    task = TASKS[config.task]
    if split not in task.splits:
        raise UserError(
            f"the data has no {split} split, only {', '.join(task.splits)}: for other texts, "
            "evaluate with --texts FILE"
        )
    return task.read(config.places, split)


def encode_split(
    model: Classifier, split: str, examples: Examples, truncate: bool = False
) -> EncodedExamples:
    """`encode_examples`, and a line on the screen about texts of a split that are left out or cut.

    Raises: UserError as `encode_examples` does.
    """
    encoded = encode_examples(model, examples, truncate)
    if encoded.notes:
        distributed.say(f"{split}: {'; '.join(encoded.notes)}")
    return encoded


def make_game(config: RunConfig, network: Model, width: int) -> Game:
    """The game of a run, on a network whose states are `width` wide."""
    probe = probes.PROBES[config.gate](max(width // 4, 1))
    return Game(network, probe, config.margin, SPARSITY[config.sparsity], config.pull)


def check_enough(config: RunConfig, layers: int, texts: int) -> None:
    """Raises: UserError if there are too few texts for any batch that `check_dealt` takes."""
    if config.layers == "example" and texts < layers:
        raise UserError(
            f"{texts} texts are too few to train on: every step plays each of {layers} layers with "
            "another text"
        )


def check_dealt(config: RunConfig, layers: int, shares: int) -> None:
    """Raises: UserError if a part of a batch has no example for some depth.

    layers: the number of the model's layers
    shares: the number of parts into which devices and `--accumulate` divide a batch
    """
    if config.layers == "example" and config.batch_size < layers * shares:
        parts = f" in {shares} parts" if shares > 1 else ""
        raise UserError(
            f"a batch of {config.batch_size}{parts} has no example for each of {layers} layers: "
            f"use --batch-size {layers * shares} or more, or --layers batch"
        )


def rates_of(config: RunConfig) -> Rates:
    """The learning rates of both players."""
    return Rates(config.probe_rate, config.baseline_rate, config.multiplier_rate, config.warmup)


def players_of(config: RunConfig) -> Players:
    """The players of a run's game."""
    rates, start = rates_of(config), config.multiplier_start
    if config.setting == "authors":
        return players.authors(rates, start)
    return players.settling(config.margin, rates, start)


def first_state(
    config: RunConfig, game: Game, model: Classifier, train: Sequence[Encoded]
) -> steps.TrainState:
    """The state before the first step, with a fresh probe, calibrated unless the game is the
    authors'."""
    probe = fresh_probe(config, game, model, train)
    if config.setting != "authors":
        probe = calibrated_probe(game, model, train, probe)
    return steps.init(probe, len(game.model.layers), players_of(config))


def fresh_probe(
    config: RunConfig, game: Game, model: Classifier, train: Sequence[Encoded]
) -> dict[str, Any]:
    """A probe with open gates, and with baselines that start at `no_word_states`."""
    return drawn_probe(game, jax.random.key(config.seed), no_word_states(model, sample(train)))


def drawn_probe(
    game: Game, key: Key[Array, ""], starts: Sequence[Float[Array, " _"]]
) -> dict[str, Any]:
    """A probe with open gates. starts: a vector per state, the first of which become baselines."""
    states = tuple(jnp.zeros((1, 1, len(start))) for start in starts)
    baselines = starts[: game.probe.baselines(len(states))]
    return probes.init(key, game.probe, states, baselines)


def blank_probe(game: Game, widths: tuple[int, ...], key: Key[Array, ""]) -> dict[str, Any]:
    """A probe with open gates and baselines of zeros. widths: of every state."""
    return drawn_probe(game, key, [jnp.zeros(width) for width in widths])


def calibrated_probe(
    game: Game, model: Classifier, train: Sequence[Encoded], probe: dict[str, Any]
) -> dict[str, Any]:
    """A probe adjusted to the model's states for some texts (`probes.calibrated`)."""
    return _calibrated(game, probe, model.params, _together(sample(train)))


@functools.partial(jax.jit, static_argnums=0)
def _calibrated(game: Game, probe: Any, params: Any, inputs: TextInputs) -> Any:
    _, states = game.model.states(params, inputs)
    return probes.calibrated(game.probe, probe, states, inputs.valid)


def sample(texts: Sequence[Encoded]) -> Sequence[Encoded]:
    """The first SAMPLE texts, or as many as have at most POSITIONS when padded, at least one."""
    longest = np.maximum.accumulate([len(text.ids) for text in texts[:SAMPLE]])
    fit = int(np.sum(longest * np.arange(1, len(longest) + 1) <= POSITIONS))
    return texts[: max(1, fit)]


def no_word_states(model: Classifier, texts: Sequence[Encoded]) -> list[Float[Array, " _"]]:
    """The states of "no word": each state's mean over texts that consist of [MASK].

    These are the given texts with every word piece replaced; special tokens and segments are kept.
    The first state is the embedding of [MASK] itself.

    Raises: UserError if the tokenizer has no token that can stand for no word.
    """
    mask = no_word(model)
    silent = [text._replace(ids=np.where(text.parts >= 0, mask, text.ids)) for text in texts]
    return _means(model.network, mask, model.params, _together(silent))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _means(network: Model, token: int, params: Any, inputs: TextInputs) -> list[Float[Array, " _"]]:
    """Each state's mean over the positions of a token."""
    _, states = network.states(params, inputs)
    words = inputs.valid & (inputs.tokens == token)
    return [statistics(state, words).mean for state in states]


def _together(texts: Sequence[Encoded]) -> TextInputs:
    """All texts as one batch."""
    return batches.pad(texts, max(len(text.ids) for text in texts))


def no_word(model: Classifier) -> int:
    """The mask token, or its substitute if there is none, as in a decoder.

    Raises: UserError if the tokenizer has no such token.
    """
    tokenizer = model.tokenizer
    for token in (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id):
        if token is not None:
            return token
    raise UserError(
        f"the tokenizer of {model.path} has no mask token, which a probe's baselines start from: "
        "set mask_token in tokenizer_config.json"
    )


def state_widths(model: Classifier) -> tuple[int, ...]:
    """The width of every state of a model."""
    tokens = np.zeros((1, 1), np.int32)
    inputs = TextInputs(tokens, tokens, np.ones_like(tokens, bool))
    _, states = jax.eval_shape(model.network.states, model.params, inputs)
    return tuple(state.shape[-1] for state in states)


def probe_shapes(game: Game, model: Classifier) -> Any:
    """The shapes of the parameters of a probe for this model."""
    draw = jax.jit(blank_probe, static_argnums=(0, 1))  # traced once for equal games and widths
    return jax.tree.map(np.shape, draw.eval_shape(game, state_widths(model), jax.random.key(0)))


def outputs_of(model: Classifier, texts: Sequence[Encoded]) -> Float[np.ndarray, "N C"]:
    """A model's unmasked outputs for texts: `Family.outputs` of each."""
    mesh = devices.data_mesh()
    run = devices.spread(_outputs, mesh, model.network)
    params = devices.place(model.params, mesh, devices.WHOLE)
    stream = batches.in_order(texts, devices.round_up(BATCH, mesh), model.config.positions)
    found = ((batch.indices, jax.device_get(run(params, batch.inputs))) for batch in stream)
    outputs: np.ndarray = batches.put_back(found, jax.tree.map)
    return outputs


def _outputs(network: Model, params: Any, inputs: TextInputs) -> Float[Array, "B C"]:
    return network.family.outputs(network.states(params, inputs)[0])
