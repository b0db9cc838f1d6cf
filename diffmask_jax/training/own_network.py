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
from diffmask_jax.errors import UserError
from diffmask_jax.game import players, probes, steps
from diffmask_jax.game.divergences import CATEGORICAL, Family, Logits
from diffmask_jax.game.gates import GATES
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
from diffmask_jax.runtime.settings import positive, positive_int
from diffmask_jax.runtime.tensors import check_finite
from diffmask_jax.training import settled
from diffmask_jax.training.settled import Curves

RATES = Rates()
PULL = 0.003
SAMPLE = 256  # examples whose mean states are the initial baselines
ROUNDING = 1e-6  # nats, which they always may
CHECKED = 4  # examples on which the network's two functions are compared
NEAR = 0.02  # what they may differ by, as a share of how much examples do
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
    margin: float = 0.1,
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
            fewer examples than one batch, `valid`, a state or the logits have the wrong shape, or
            the network's two functions do not agree.
    """
    keep_compiled_programs()
    _check(gate, margin, steps, batch_size, hidden)
    _check_examples(inputs, batch_size, len(model.layers))
    some = jax.tree.map(lambda array: array[:SAMPLE], inputs)
    logits, states = jax.jit(model.states)(params, some)
    _check_states(states, some.valid, model.layers)
    _check_logits(model.family, logits, len(some.valid))
    clean = jax.tree.map(lambda array: array[:CHECKED], Clean(some, logits, states))
    _check_resumed(model, params, clean, margin)
    widths = tuple(state.shape[-1] for state in states)
    probe = probes.PROBES[gate](max(max(widths) // 4, 1) if hidden is None else hidden)
    model = model._replace(layers=tuple(model.layers))
    game = Game(_with_traced_layers(model, widths), probe, margin, mean_keep, PULL)
    if baselines is None:
        means = [statistics(state, some.valid).mean for state in states]
        baselines = means[: probe.baselines(len(means))]
    _check_baselines(baselines, widths[: probe.baselines(len(widths))])
    key, data_key = jax.random.split(jax.random.key(seed))
    team = players.settling(margin, rates)
    fresh = probes.init(key, probe, states, list(baselines))
    state = _start(game, fresh, states, some.valid, team)
    params, inputs = jax.device_put((params, inputs))
    program = _program(game, team, len(inputs.valid), batch_size)
    advance = functools.partial(program, keys=(key, data_key), params=params, inputs=inputs)
    state, curves = _played(advance, state, steps)
    return Fitted(game, params, state.probe.slow, curves)


def _check(gate: str, margin: float, steps: int, batch_size: int, hidden: int | None) -> None:
    """Raises: UserError if the gate is unknown, or a number is out of range."""
    if gate not in GATES:
        raise UserError(f"gate is {gate!r}, not one of {', '.join(GATES)}")
    wrong = {
        f"margin ({margin!r})": positive(margin),
        f"steps ({steps!r})": positive_int(steps),
        f"batch_size ({batch_size!r})": positive_int(batch_size),
        f"hidden ({hidden!r})": None if hidden is None else positive_int(hidden),
    }
    for name, reason in wrong.items():
        if reason:
            raise UserError(f"{name} {reason}")


def _check_examples(inputs: Any, batch_size: int, layers: int) -> None:
    """Raises: UserError if these are not examples, or too few for a batch."""
    if not hasattr(inputs, "valid"):
        raise UserError("the inputs need a field `valid`: which positions (N, T) are not padding")
    kind = getattr(inputs.valid, "dtype", None), getattr(inputs.valid, "ndim", None)
    if kind != (bool, 2):
        raise UserError("the inputs' `valid` must be an array of booleans (N, T): array > 0, say")
    if batch_size < layers:
        raise UserError(
            f"a batch of {batch_size} has no example for each of {layers} layers: use "
            f"batch_size={layers} or more"
        )
    if (count := len(inputs.valid)) < batch_size:
        raise UserError(f"{count} examples do not fill one batch of {batch_size}")


def _check_states(states: States, valid: Array | np.ndarray, layers: Sequence[str]) -> None:
    """Raises: UserError if the network gives other states than it names, or of other positions."""
    if len(states) != len(layers):
        raise UserError(f"the network gives {len(states)} states, but `layers` names {len(layers)}")
    for layer, state in zip(layers, states, strict=True):
        if state.shape[:-1] != valid.shape:
            raise UserError(
                f"state {layer} is {state.shape}: it must be (N, T, width), N and T as of `valid`"
            )


def _check_resumed(model: Model, params: Params, clean: Clean, margin: float) -> None:
    """Raises: UserError if `logits_from`, given a state of the clean pass, returns others than
    its logits."""
    resume = jax.jit(model.logits_from, static_argnums=3)
    allowed = NEAR * min(margin, _between_examples(model.family, clean.logits) or margin)
    for layer, state in enumerate(clean.states):
        resumed = resume(params, clean.inputs, state, layer)
        if not _are_near(model.family, clean.logits, resumed, max(allowed, ROUNDING)):
            raise UserError(
                f"`logits_from` given state {model.layers[layer]} of the clean pass returns other "
                "logits than the clean pass: it must resume exactly there, with dropout off in both"
            )


def _check_logits(family: Family, logits: Logits, count: int) -> None:
    """Raises: UserError if a family has no divergence for such logits, one for each example."""
    shapes = jax.tree.map(jnp.shape, logits)
    try:
        found = jax.eval_shape(family.divergence, logits, logits).shape
    except (TypeError, ValueError, IndexError, LookupError):
        found = None
    if found != (count,) or (family is CATEGORICAL and shapes[-1] < 2):
        raise UserError(
            f"logits of the shape {shapes} do not fit their family: BERNOULLI has (N,), "
            "CATEGORICAL (N, C) with two classes or more, MULTI_LABEL and gaussian (N, C), and N "
            f"is {count} here"
        )


def _are_near(family: Family, clean: Logits, resumed: Logits, allowed: float) -> bool:
    """Whether logits diverge by no more nats, or, where some are not finite, the others agree."""
    shapes = [jax.tree.map(jnp.shape, logits) for logits in (clean, resumed)]
    if shapes[0] != shapes[1]:
        return False
    own, apart = (np.asarray(family.divergence(clean, other)) for other in (clean, resumed))
    if np.isfinite(own).all():
        return bool(np.all(apart <= allowed))
    return all(
        np.allclose(a[known := np.isfinite(a)], b[known], rtol=NEAR, atol=NEAR * np.std(a[known]))
        for a, b in zip(
            map(np.asarray, jax.tree.leaves(clean)), jax.tree.leaves(resumed), strict=True
        )
        if np.isfinite(a).any()
    )


def _between_examples(family: Family, logits: Logits) -> float:
    """The largest divergence of an example's output from the next one's, nats; 0 if unknown."""
    shifted = jax.tree.map(lambda array: jnp.roll(array, 1, axis=0), logits)
    apart = np.asarray(family.divergence(logits, shifted))
    return float(apart[np.isfinite(apart)].max(initial=0))


def _check_baselines(baselines: Sequence[Any] | Array, widths: Sequence[int]) -> None:
    """Raises: UserError if there is not one vector for each state that needs one."""
    shapes = [jnp.shape(one) for one in baselines]
    if shapes != [(width,) for width in widths]:
        raise UserError(
            f"baselines have the shapes {shapes}: this gate needs {[(width,) for width in widths]}"
        )


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
