"""The parts of the toy experiment, and which of them can run concurrently."""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import Method
from diffmask_jax.game import players
from diffmask_jax.game.objective import Clean
from diffmask_jax.game.players import Rates
from diffmask_jax.training.own_network import PULL
from experiments.toy import methods, setup
from experiments.toy.erasure import erasure
from experiments.toy.setup import Split, Style

EMBEDDING, HIDDEN = 0, 1

Plan = dict[int, tuple[Style, int]]
"""The style and the number of epochs of DiffMask's training on each state."""


def make_plan(setting: str, baseline: str) -> Plan:
    """The plan of a setting; the baseline of the embedding is "learned" or stays at its "mean"."""
    play, rates, epochs = SETTINGS[setting]
    on_embedding = rates if baseline == "learned" else rates._replace(baseline=0.0)
    return {
        EMBEDDING: (play(on_embedding), epochs[EMBEDDING]),
        HIDDEN: (play(rates), epochs[HIDDEN]),
    }


def _ours(rates: Rates) -> Style:
    return Style(players.settling(setup.MARGIN, rates), PULL)


def _authors(rates: Rates) -> Style:
    return Style(players.authors(rates), 0.0)


# "ours" has the players, rates and pull of `diffmask train`: ten of ten seeds end at the truth.
# With the authors' players λ falls to 0 before much is masked, and one training in twenty then ends
# in a bad optimum, in which digits that count are dropped.
SETTINGS: dict[str, tuple[Callable[[Rates], Style], Rates, tuple[int, int]]] = {
    "ours": (_ours, Rates(), (30, 60)),
    "authors": (_authors, players.AUTHORS._replace(warmup=200), (100, 100)),
}
"""By name: the style, with its rates, and the epochs on both states."""


class Task(NamedTuple):
    """The data of all seeds along axis 0, and `setup.reading_in_batches` of the training data."""

    keys: Array
    training: Split
    dev: Split
    held_out: Split
    reading: tuple[int, ...]


class Models(NamedTuple):
    """The frozen counting models and their clean passes, with all seeds along axis 0."""

    keys: Array
    params: Any
    dev: Split
    clean: Clean
    dev_clean: Clean


class Played(NamedTuple):
    """DiffMask on one state: probes, training curves, and P(z ≠ 0) of the validation examples."""

    probe: Any
    curves: dict[str, np.ndarray]
    keep: Float[Array, "S N T"]


def make_task(seeds: list[int]) -> Task:
    """The data of every seed, which do not depend on the other seeds."""
    training, dev = setup.make_data(seeds)
    reading = setup.reading_in_batches(training.inputs.valid)
    return Task(setup.seed_keys(seeds), training, dev, setup.make_held_out(seeds), reading)


def train(task: Task) -> Models:
    """Train the counting models."""
    params = setup.train_model(task.keys, task.training, task.held_out, task.reading)
    clean, dev_clean = (setup.clean(params, split) for split in (task.training, task.dev))
    return Models(task.keys, params, task.dev, clean, dev_clean)


def play(models: Models, plan: Plan, layer: int) -> Played:
    """Train DiffMask on one state of all counting models."""
    seeds = models.keys, models.params, models.clean
    probe, curves = setup.train_probe(*seeds, layer, *plan[layer])
    return Played(probe, curves, setup.keep_probability(probe, models.dev_clean, layer))


def attribute(
    models: Models, method: Method, noise: Statistics | None = None
) -> Float[Array, "S N T"]:
    """A method's attributions to the hidden state of the validation examples.

    noise: each seed's statistics, by default those of the state itself
    """
    return methods.attribute(*_given(models, method, noise or _statistics(models)))


def _statistics(models: Models) -> Statistics:
    return methods.state_statistics(models.clean, HIDDEN)


def _given(models: Models, method: Method, noise: Statistics) -> tuple[Any, ...]:
    """The arguments of `methods.attribute`."""
    reading = setup.reading(models.dev.inputs.valid[:, :: methods.BLOCKS])
    seeds = models.keys, models.params, models.dev_clean, noise
    return method, *seeds, HIDDEN, methods.BLOCKS, reading


def attribute_example(models: Models, example: int) -> dict[str, Float[Array, " T"]]:
    """All methods' attributions to the embeddings of one example of the first seed."""
    seed, one = slice(0, 1), slice(example, example + 1)
    noise = methods.state_statistics(models.clean, EMBEDDING)
    keys, params, noise = jax.tree.map(lambda a: a[seed], (models.keys, models.params, noise))
    clean = jax.tree.map(lambda a: a[seed, one], models.dev_clean)
    found = {"erasure": erasure(params, clean, EMBEDDING)}
    for name, method in methods.METHODS.items():
        found[name] = methods.attribute(method, keys, params, clean, noise, EMBEDDING)
    return {name: attribution[0, 0] for name, attribution in found.items()}


COUNTING, AHEAD = "counting models", "compiling meanwhile"
ON_EMBEDDING, ON_HIDDEN = "DiffMask, embedding", "DiffMask, hidden state"
EXAMPLE = "all methods, one example"


def first(task: Task, plan: Plan) -> dict[str, Callable[[], Any]]:
    """The first parts: one core trains the counting models while another compiles."""
    trained = threading.Event()

    def counting() -> Models:
        try:
            return jax.block_until_ready(train(task))
        finally:
            trained.set()

    return {COUNTING: counting, AHEAD: lambda: _compile_ahead(task, plan, trained.is_set)}


def then(models: Models, plan: Plan, example: int) -> dict[str, Callable[[], Any]]:
    """The parts that need only the counting models; those that take longest come first."""
    played = {ON_HIDDEN: HIDDEN, ON_EMBEDDING: EMBEDDING}
    return {
        **{name: functools.partial(play, models, plan, layer) for name, layer in played.items()},
        **{
            name: functools.partial(attribute, models, method)
            for name, method in methods.METHODS.items()
        },
        EXAMPLE: lambda: attribute_example(models, example),
        "erasure": lambda: erasure(models.params, models.dev_clean, HIDDEN),
    }


def _compile_ahead(task: Task, plan: Plan, enough: Callable[[], bool]) -> None:
    """Compile programs that will be needed, in this order, until there is something better to do.

    JAX caches them by shapes, which are known before the models are.
    """
    train = functools.partial(setup.train_model, reading=task.reading)
    params = jax.eval_shape(train, task.keys, task.training, task.held_out)
    clean, dev_clean = (jax.eval_shape(setup.clean, params, s) for s in (task.training, task.dev))
    for program in _programs(Models(task.keys, params, task.dev, clean, dev_clean), plan, task):
        if enough():
            return
        program.compile()


def _programs(models: Models, plan: Plan, task: Task) -> Iterator[jax.stages.Lowered]:
    seeds = models.keys, models.params, models.clean
    for layer in (HIDDEN, EMBEDDING):
        how: dict[str, Any] = {"layer": layer, "style": plan[layer][0]}
        state = jax.eval_shape(functools.partial(setup.start, **how), models.keys, models.clean)
        yield setup.epoch.lower(state, *seeds, 0, **how, reading=task.reading)
    noise = jax.eval_shape(_statistics, models)
    wanted: list[Method] = [*methods.METHODS.values(), methods.FROM_BASELINE]
    for method in wanted:
        yield methods.attribute.lower(*_given(models, method, noise))
    yield erasure.lower(models.params, models.dev_clean, HIDDEN)
