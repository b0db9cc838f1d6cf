"""A run before its first step: its model, its game, its texts, and where its players start."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game import players, probes, steps
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, mean_keep, mean_log_keep
from diffmask_jax.game.players import Players, Rates
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime import devices
from diffmask_jax.tasks.gold import gold_of
from diffmask_jax.tasks.task import Examples
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training.config import RunConfig

SPARSITY = {"count": mean_keep, "log": mean_log_keep}
SAMPLE = 256  # texts whose mean states are the hidden probe's first baselines
BATCH = 32


def load_model(config: RunConfig, moved: str | Path | None = None) -> Classifier:
    """The classifier that a run is about, computing as the run does. moved: where it lies now.

    Raises: UserError as `load_classifier` does.
    """
    return load_classifier(moved or config.model, config.precision, config.remat)


def read_split(config: RunConfig, split: str) -> Examples:
    """One split of the data that a run is about.

    Raises: UserError if it cannot be read, or the data has no such split.
    """
    task = TASKS[config.task]
    if split not in task.splits:
        raise UserError(
            f"the data has no {split} split, only {', '.join(task.splits)}: for other texts, "
            "evaluate with --texts FILE"
        )
    return task.read(config.places, split)


def gold_labels(model: Classifier, examples: Examples) -> np.ndarray | None:
    """The gold labels of examples as a model's head has them; None where they have none.

    Raises: UserError if one is none of the model's.
    """
    if examples.gold is None:
        return None
    gold = gold_of(examples.gold, model.labels, model.head.problem_type, examples.rows)
    model.head.check_gold(gold, len(model.labels))
    return gold


def make_game(config: RunConfig, network: Model, width: int) -> Game:
    """The game that a run plays on a network whose states are `width` wide."""
    probe = probes.PROBES[config.gate](max(width // 4, 1))
    return Game(network, probe, config.margin, SPARSITY[config.sparsity], config.pull)


def check_dealt(config: RunConfig, layers: int, shares: int) -> None:
    """Raises: UserError if a part of a batch has no example for some depth.

    layers: the model's; shares: into how many parts devices and `--accumulate` cut a batch.
    """
    if config.layers == "example" and config.batch_size < layers * shares:
        parts = f" in {shares} parts" if shares > 1 else ""
        raise UserError(
            f"a batch of {config.batch_size}{parts} has no example for each of {layers} layers: "
            f"take --batch-size {layers * shares} or more, or --layers batch"
        )


def rates_of(config: RunConfig) -> Rates:
    """The learning rates of both players."""
    return Rates(config.probe_rate, config.baseline_rate, config.multiplier_rate, config.warmup)


def players_of(config: RunConfig) -> Players:
    """Who plays a run's game."""
    if config.setting == "authors":
        return players.authors(rates_of(config))
    return players.settling(config.margin, rates_of(config))


def first_state(
    config: RunConfig, game: Game, model: Classifier, train: Sequence[Encoded]
) -> steps.TrainState:
    """Before the first step: `first_probe`, and its players as they start."""
    probe = first_probe(config, game, model, train)
    return steps.init(probe, len(game.model.layers), players_of(config))


def first_probe(
    config: RunConfig, game: Game, model: Classifier, train: Sequence[Encoded]
) -> dict[str, Any]:
    """Open gates, and baselines at the [MASK] embedding or the mean of each state."""
    widths = state_widths(model)

    def no_word() -> Float[Array, " D"]:
        return _mask_embedding(model)

    def means() -> list[Float[Array, " _"]]:
        mean = _mean_states(model, train[:SAMPLE])
        return [mean[layer, :width] for layer, width in enumerate(widths)]

    states = tuple(jnp.zeros((1, 1, width)) for width in widths)
    baselines = game.probe.start(no_word, means)
    return probes.init(jax.random.key(config.seed), game.probe, states, baselines)


def state_widths(model: Classifier) -> list[int]:
    """The width of every state of a model."""
    _, states = jax.eval_shape(model.network.states, model.params, _inputs_of(0))
    return [state.shape[-1] for state in states]


def _inputs_of(token: int) -> TextInputs:
    tokens = np.full((1, 1), token, np.int32)
    return TextInputs(tokens, np.zeros_like(tokens), np.ones_like(tokens, bool))


def _mask_embedding(model: Classifier) -> Float[Array, " D"]:
    """Raises: UserError if the tokenizer has no mask token."""
    mask = model.tokenizer.mask_token_id
    if mask is None:
        mask = _stand_in(model)
    embed = jax.jit(lambda params, inputs: model.network.states(params, inputs)[1][0][0, 0])
    return embed(model.params, _inputs_of(mask))


def _stand_in(model: Classifier) -> int:
    """What stands for no word where there is no mask token, as in a decoder: its unknown one."""
    for token in (model.tokenizer.unk_token_id, model.tokenizer.eos_token_id):
        if token is not None:
            return token
    raise UserError(
        f"the tokenizer of {model.path} has no mask token, from whose embedding the input probe's "
        "baseline starts: use --gate hidden"
    )


def _mean_states(model: Classifier, texts: Sequence[Encoded]) -> Float[Array, "L D"]:
    """Over all word pieces of some texts, a batch's states in memory at a time."""
    stream = batches.in_order(texts, min(BATCH, len(texts)), model.config.positions)
    return state_statistics(model.network, model.params, stream).mean


def outputs_of(model: Classifier, texts: Sequence[Encoded]) -> Float[np.ndarray, "N C"]:
    """What a model says of texts, unmasked: `Family.outputs` of each."""
    mesh = devices.data_mesh()
    run = devices.spread(functools.partial(_outputs, model.network), mesh)
    params = devices.place(model.params, mesh, devices.WHOLE)
    outputs = np.zeros((len(texts), len(model.labels)), np.float32)
    for batch in batches.in_order(texts, devices.round_up(BATCH, mesh), model.config.positions):
        outputs[batch.indices] = run(params, batch.inputs)[: len(batch.indices)]
    return outputs


def _outputs(network: Model, params: Any, inputs: TextInputs) -> Float[Array, "B C"]:
    return network.family.outputs(network.states(params, inputs)[0])
