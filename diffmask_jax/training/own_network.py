"""A probe for a user's own network: two pure functions and arrays, no files."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.game import players, probes, steps
from diffmask_jax.game.model import Layer, Model, Params, States
from diffmask_jax.game.objective import (
    Clean,
    Diagnostics,
    Game,
    clean_pass,
    keep_probabilities,
    mean_keep,
)
from diffmask_jax.game.players import Players, Rates
from diffmask_jax.game.steps import Play, TrainState
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.plain_lines import EVERY, PlainLines
from diffmask_jax.runtime.tensors import check_finite
from diffmask_jax.training import settled
from diffmask_jax.training.own_network_checks import (
    as_number,
    check_baselines,
    check_examples,
    check_network,
    check_numbers,
    check_params,
)
from diffmask_jax.training.settled import Curves

RATES = Rates()
PULL = 0.003
SAMPLE = 256  # examples whose mean states are the initial baselines
PER_CALL = 10  # steps per compiled call
PROGRAMS = 4  # compiled programs, of the games played last, that a process keeps


Keys = tuple[Key[Array, ""], Key[Array, ""]]


class Fitted(NamedTuple):
    """A trained probe of a network, with the network's own parameters.

    curves: `Diagnostics` of every step, arrays (steps, L), and (steps,) for the loss
    """

    game: Game
    model_params: Params
    probe_params: Any
    curves: Diagnostics

    def __call__(self, inputs: Any) -> Float[Array, "L B T"]:
        """P(z ≠ 0) of every position of a batch at every layer."""
        return _keep(self.game, self.model_params, self.probe_params, inputs)

    def settled(self) -> str:
        """A line that says whether training has settled at every layer, or where and why not."""
        curves = Curves(*(getattr(self.curves, name) for name in Curves._fields))
        margin = self.game.margin
        return settled.told(settled.verdict_on(curves, margin), self.game.model.layers, margin)


@functools.partial(jax.jit, static_argnums=0)
def _keep(game: Game, model_params: Params, probe_params: Any, inputs: Any) -> Array:
    return keep_probabilities(game, model_params, probe_params, inputs)[1]


def fit_probe(
    model: Model,
    params: Params,
    inputs: Any,
    *,
    gate: str = "input",
    margin: float | np.floating | Float[Array, ""] = 0.1,
    steps: int = 1600,
    batch_size: int = 64,
    seed: int = 0,
    baselines: Sequence[Float[Array, " _"]] | Float[Array, "_ _"] | None = None,
    rates: Rates = RATES,
    hidden: int | None = None,
) -> Fitted:
    """Play the game on any network: min over φ, b, max over λ of L₀ + λ·(D − m) (paper, eq. 3).

    Args:
        model: the network. Its `logits_from` need only support layers given as Python ints.
        params: its parameters, which do not change.
        inputs: all examples, a NamedTuple of arrays (N, …) with a field `valid` (N, T).
        gate: "input" (which inputs can be dropped, judging by the states up to each layer) or
            "hidden" (which states can).
        margin: m, the divergence allowed, in nats of `model.family`.
        baselines: where the learned replacements of dropped states start: one for "input", one per
            state for "hidden"; by default the mean of each state.
        rates: the players' learning rates (`players.settling`).
        hidden: width of the gate networks' hidden layer; by default a quarter of the widest state.

    Raises:
        UserError: if the gate is unknown, a number is out of range or stops being finite, there are
            fewer examples than one batch, a field of the inputs, a state or the logits have the
            wrong shape, a parameter is not an array, or the network's two functions do not agree.
    """
    keep_compiled_programs()
    margin = as_number(margin, "margin")  # a plain one, since programs are compiled for it
    check_numbers(gate, margin, steps, batch_size, hidden)
    check_examples(inputs, batch_size, len(model.layers))
    check_params(params)
    some = jax.tree.map(lambda array: array[:SAMPLE], inputs)
    logits, states = jax.jit(model.states)(params, some)
    check_network(model, params, Clean(some, logits, states), margin)
    widths = tuple(state.shape[-1] for state in states)
    probe = probes.PROBES[gate](max(max(widths) // 4, 1) if hidden is None else hidden)
    model = model._replace(layers=tuple(model.layers))
    game = Game(_with_traced_layers(model, widths), probe, margin, mean_keep, PULL)
    if baselines is None:
        means = [statistics(state, some.valid).mean for state in states]
        baselines = means[: probe.baselines(len(means))]
    check_baselines(baselines, widths[: probe.baselines(len(widths))])
    key, data_key = jax.random.split(jax.random.key(seed))
    team = players.settling(margin, rates)
    fresh = probes.init(key, probe, states, list(baselines))
    state = _start(game, fresh, states, some.valid, team)
    params, inputs = jax.device_put((params, inputs))
    program = _program(game, team, len(inputs.valid), batch_size)
    advance = functools.partial(program, keys=(key, data_key), params=params, inputs=inputs)
    state, curves = _played(advance, state, steps)
    return Fitted(game, params, state.probe.slow, curves)


def _played(
    advance: Callable[[TrainState, Array], tuple[TrainState, Diagnostics]],
    state: TrainState,
    count: int,
) -> tuple[TrainState, Diagnostics]:
    """The state after so many steps, and the diagnostics of every step, on the host.

    advance: (state, step numbers) -> the state after these steps, and their diagnostics

    Raises: UserError if the numbers stop being finite.
    """
    told = []
    with tqdm(total=count, desc="train", unit="step", disable=None) as bar:
        lines = PlainLines(bar, EVERY)
        for start in range(0, count, PER_CALL):
            now = jnp.arange(start, min(start + PER_CALL, count))
            state, diagnostics = advance(state, now)
            told.append(jax.device_get(diagnostics))
            _check_finite(told[-1], start)
            bar.update(len(now))
            lines.say_if_due(f"train: {start + len(now)} of {count} steps")
    return state, jax.tree.map(lambda *parts: np.concatenate(parts), *told)


def _start(
    game: Game, fresh: Any, states: States, valid: Array | np.ndarray, players: Players
) -> TrainState:
    """The state before the first step: a fresh probe, calibrated to the states of some examples."""
    probe = jax.jit(probes.calibrated, static_argnums=0)(game.probe, fresh, states, valid)
    return steps.init(probe, len(game.model.layers), players)


@functools.lru_cache(maxsize=PROGRAMS)
def _program(game: Game, players: Players, count: int, batch_size: int) -> Any:
    """(state, step numbers, keys, the network's parameters, all examples) -> as `steps.steps`.

    keys: one for the game, and one for the data's order
    """
    draw = steps.one_layer_an_example(len(game.model.layers))

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(
        state: TrainState, numbers: Array, keys: Keys, params: Params, inputs: Any
    ) -> tuple[TrainState, Diagnostics]:
        key, data_key = keys

        def rows(number: Array) -> Array:
            chosen = jax.random.fold_in(data_key, number)
            return jax.random.choice(chosen, count, (batch_size,), replace=False)

        def fetch(rows: Array) -> Clean:
            return clean_pass(game.model, params, jax.tree.map(lambda array: array[rows], inputs))

        play = Play(game, players, params, fetch, draw)
        return steps.steps(state, key, jax.vmap(rows)(numbers), play)

    return advance


def _check_finite(curve: Diagnostics, start: int) -> None:
    check_finite(
        curve,
        f"the numbers are not finite after step {start}: check the network's outputs, or lower "
        "the rates",
    )


@functools.lru_cache(maxsize=PROGRAMS)
def _with_traced_layers(model: Model, widths: tuple[int, ...]) -> Model:
    """The same network, with a `logits_from` that also takes traced layers, by one branch each."""

    def logits_from(params: Params, inputs: Any, state: Array, layer: Layer) -> Any:
        if isinstance(layer, int):
            return model.logits_from(params, inputs, state, layer)
        branches = [
            lambda state, n=n, width=width: model.logits_from(params, inputs, state[..., :width], n)
            for n, width in enumerate(widths)
        ]
        return jax.lax.switch(layer, branches, state)

    return model._replace(logits_from=logits_from)
