"""Shows that our step on the toy task and both PyTorch ones compute the same thing.

With the same weights, batch and noise, the loss, the divergence, every gradient, and the weights
after some steps must agree. The authors draw again for λ once the probe has moved, so that their
steps cannot agree exactly; their gradients must.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array, Key
from torch import Tensor

from diffmask_jax.game import probes, steps
from diffmask_jax.game.objective import Clean, clean_pass, objective
from diffmask_jax.game.players import AUTHORS, authors
from diffmask_jax.models import toy
from diffmask_jax.models.toy import TOY
from experiments.throughput.pytorch import toy_steps
from experiments.throughput.pytorch.players import Noise, Weights, gradients, player_weights
from experiments.throughput.pytorch.toy import model_weights
from experiments.throughput.pytorch.toy_steps import Play
from experiments.toy.setup import BATCH, GAME, TRAINING, make_data

RATES = AUTHORS._replace(warmup=5)
STEPS = 15


class Example(NamedTuple):
    """A random model, a batch and a probe, drawn such that no gradient vanishes."""

    params: Any
    clean: Clean
    probe: Any


def example() -> Example:
    """A batch of seed 0 with all lengths, the longest example first, as the lean loop expects.

    With fresh weights the outputs would hardly differ and the gates would be open: these are
    larger, and c starts at 0 instead of 5.
    """
    data, _ = make_data([0])
    inputs = jax.tree.map(lambda a: a[0, :: TRAINING // BATCH][:BATCH], data.inputs)
    params = jax.tree.map(lambda a: 3 * a, toy.init(jax.random.key(0)))
    clean = clean_pass(GAME.model, params, inputs)
    baselines = [jnp.zeros(state.shape[-1]) for state in clean.states]
    probe = probes.init(jax.random.key(1), GAME.probe, clean.states, baselines)
    for gate in probe["gates"]:
        gate["shift"] = jnp.zeros(())
    leaves, tree = jax.tree.flatten(probe)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [a + 0.3 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return Example(params, clean, jax.tree.unflatten(tree, moved))


def largest_differences(case: Example, layer: int) -> dict[str, float]:
    """What was compared -> its largest difference, relative to its largest entry."""
    differences = _gradient_differences(case, layer)
    differences["weights moved, lean"] = _step_difference(case, layer)
    return differences


def agree(differences: dict[str, float]) -> bool:
    """Whether all agree within float32; steps divide by a deviation, which costs two digits."""
    limits = {name: 1e-3 if name.startswith("weights") else 1e-5 for name in differences}
    return all(differences[name] <= limit for name, limit in limits.items())


def _gradient_differences(case: Example, layer: int) -> dict[str, float]:
    gate_key, multipliers = jax.random.key(3), jnp.full(len(TOY.layers), 10.0)
    gradient = jax.jit(jax.grad(_objective, argnums=(0, 1), has_aux=True), static_argnums=4)
    (for_probe, for_multipliers), diagnostics = gradient(
        case.probe, multipliers, case.params, case.clean, layer, gate_key
    )
    # Our λ descends on −λ·(D − m), PyTorch's ascends on λ·(D − m).
    expected = player_weights(for_probe, -for_multipliers)

    def authors(play: Play) -> toy_steps.Outcome:
        batch = [torch.tensor(np.asarray(array)).long() for array in case.clean.inputs]
        toy_steps.authors_pass(play, play.moved.dual, batch)
        return toy_steps.authors_pass(play, play.moved.primal, batch)

    def lean(play: Play) -> toy_steps.Outcome:
        batch = toy_steps.lean_data(play, case.clean.inputs)
        return toy_steps.lean_pass(play, batch)

    differences = {}
    for name, run in {"authors' style": authors, "lean": lean}.items():
        play = _start(case, multipliers, layer, lambda _, shape: _noise(gate_key, layer))
        outcome = run(play)
        theirs = gradients(play.players)
        differences[f"L₀, {name}"] = abs(outcome.sparsity.item() / float(diagnostics.loss) - 1)
        differences[f"D, {name}"] = abs(
            outcome.divergence.item() / float(diagnostics.divergence[layer]) - 1
        )
        differences[f"gradients, {name}"] = _largest(expected, theirs)
    return differences


def _objective(
    probe: Any, multipliers: Array, params: Any, clean: Clean, layer: int, key: Key[Array, ""]
) -> Any:
    keys = _keys(key)
    return objective(probe, multipliers, keys, layer, game=GAME, model_params=params, clean=clean)


def _step_difference(case: Example, layer: int) -> float:
    """The distance of both sides' weights at the end, relative to how far they moved."""
    key = jax.random.key(4)

    @jax.jit
    def step(state: steps.TrainState) -> steps.TrainState:
        play = steps.Play(
            GAME, authors(RATES), case.params, lambda clean: clean, lambda key, examples: layer
        )
        return steps.step(state, key, case.clean, play)[0]

    state = steps.init(case.probe, len(TOY.layers), authors(RATES))
    before = player_weights(state.probe.fast, state.multipliers.fast)
    gate_keys = (jax.random.split(jax.random.fold_in(key, n))[1] for n in range(STEPS))
    ones = jnp.ones(len(TOY.layers))
    play = _start(case, ones, layer, lambda _, shape: _noise(next(gate_keys), layer))
    batch = toy_steps.lean_data(play, case.clean.inputs)
    for _ in range(STEPS):
        state = step(state)
        toy_steps.lean_step(play, batch)
    after = player_weights(state.probe.fast, state.multipliers.fast)
    theirs = {name: weight.detach().numpy() for name, weight in play.players.named_parameters()}
    return _largest(_minus(after, before), _minus(theirs, before))


def _start(case: Example, multipliers: Array, layer: int, noise: Noise) -> Play:
    players = player_weights(case.probe, multipliers)
    return toy_steps.start(model_weights(case.params), players, layer, RATES, noise)


def _keys(gate_key: Key[Array, ""]) -> Key[Array, " B"]:
    """The key of each example, as `game.steps.step` makes them."""
    return jax.vmap(jax.random.fold_in, (None, 0))(gate_key, jnp.arange(BATCH))


def _noise(gate_key: Key[Array, ""], layer: int) -> Tensor:
    """The noise that `objective` draws for this layer."""

    def of_example(key: Key[Array, ""]) -> Array:
        return jax.random.logistic(jax.random.split(key, len(TOY.layers))[layer], (10,))

    return torch.tensor(np.asarray(jax.vmap(of_example)(_keys(gate_key))))


def _minus(a: Weights, b: Weights) -> Weights:
    return {name: a[name] - b[name] for name in a}


def _largest(expected: Weights, theirs: Weights) -> float:
    """The largest relative difference over all weights; absolute for states that are not played."""
    scales = {name: np.abs(value).max() or 1.0 for name, value in expected.items()}
    return max(float(np.abs(theirs[name] - expected[name]).max() / scales[name]) for name in scales)
