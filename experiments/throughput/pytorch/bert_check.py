"""Shows that our step on BERT and those in PyTorch compute the same thing, before they are raced.

With the same weights, batch, layers and noise of gates, and without dropout, L₀, the divergence and
the gradient of every weight of both players must agree, although the authors pad texts much
further.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array, Float, Key
from torch import Tensor

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.objective import clean_pass, objective
from experiments.throughput.course import Chunk, Setup
from experiments.throughput.pytorch import bert_authors, bert_steps
from experiments.throughput.pytorch.bert import Module, Network, hugging_face, network
from experiments.throughput.pytorch.bert_gates import GATINGS
from experiments.throughput.pytorch.bert_steps import Way
from experiments.throughput.pytorch.contenders import (
    DEVICE,
    moving,
    padded,
    stakes,
    whole_float32,
)
from experiments.throughput.pytorch.players import (
    Noise,
    Outcome,
    Weights,
    gradients,
    player_weights,
)

LIMIT = 1e-3
"""The largest allowed difference of float32 numbers, relative to the largest entry of an array."""

MULTIPLIER = 10.0
AUTHORS = "authors' style"


class Example(NamedTuple):
    """A batch, and a probe drawn such that no gradient vanishes."""

    inputs: TextInputs
    probe: Any
    multipliers: Float[Array, " L"]
    key: Key[Array, ""]


def example(setup: Setup, chunk: Chunk) -> Example:
    """The first batch of a chunk; c = 0, instead of the usual 5, opens the gates halfway."""
    inputs = jax.tree.map(lambda array: array[0], chunk.batch.inputs)
    probe = {**setup.probe, "gates": [g | {"shift": jnp.zeros(())} for g in setup.probe["gates"]]}
    leaves, tree = jax.tree.flatten(probe)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    multipliers = jnp.full(len(setup.game.model.layers), MULTIPLIER)
    return Example(inputs, jax.tree.unflatten(tree, moved), multipliers, jax.random.key(3))


def check(setup: Setup, chunk: Chunk, ways: Mapping[str, Way]) -> dict[str, float]:
    """What was compared -> its largest relative difference.

    Raises: UserError if one is above the limit: then the speeds say nothing.
    """
    with whole_float32():
        differences = largest_differences(setup, chunk, ways)
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= LIMIT:
        raise UserError(
            f"our step and PyTorch's differ, so their speeds cannot be compared: {worst} by "
            f"{differences[worst]:.1e}, more than {LIMIT:g}"
        )
    return differences


def largest_differences(setup: Setup, chunk: Chunk, ways: Mapping[str, Way]) -> dict[str, float]:
    """The differences of L₀, D and all gradients, relative to the largest entry of each."""
    case, differences = example(setup, chunk), {}
    top = len(setup.game.model.layers) - 1
    depths: list[Any] = [top // 2] if setup.config.gate == "input" else [0, top]
    drawn = [np.sort(chunk.layers[0])] if chunk.layers[0].ndim else []
    ours = _ours(setup, case)
    model = hugging_face(setup.classifier, "eager", DEVICE)
    frozen = network(model, setup.sizes, torch.float32)
    for layer in depths + drawn:
        sparsity, divergences, expected = ours(jnp.asarray(layer))
        runs = {
            name: functools.partial(_lean, setup, case, frozen, layer, way)
            for name, way in ways.items()
        }
        if isinstance(layer, int):
            runs[AUTHORS] = functools.partial(_authors, setup, case, model, layer)
        where = f"layer {layer}" if isinstance(layer, int) else "one layer per example"
        for name, run in runs.items():
            outcome, theirs = run()
            at = f"{name}, {where}"
            differences[f"L₀, {at}"] = abs(outcome.sparsity.item() / sparsity - 1)
            differences[f"D, {at}"] = abs(outcome.divergence.item() / divergences.sum() - 1)
            differences[f"gradients, {at}"] = _largest(expected, theirs, divergences.max())
    return differences


def _ours(setup: Setup, case: Example) -> Callable[[Array], tuple[float, np.ndarray, Weights]]:
    """layer -> (L₀, what every layer adds to D, gradients)"""

    @functools.partial(jax.jit, static_argnums=4)
    def run(
        probe: Any,
        multipliers: Array,
        params: Any,
        inputs: TextInputs,
        layer: int | tuple[int, ...],
    ) -> Any:
        clean = clean_pass(setup.game.model, params, inputs)
        return jax.grad(objective, argnums=(0, 1), has_aux=True)(
            probe,
            multipliers,
            _keys(case.key, len(clean.logits)),
            layer if isinstance(layer, int) else np.array(layer),
            game=setup.game,
            model_params=params,
            clean=clean,
        )

    def at(layer: Array) -> tuple[float, np.ndarray, Weights]:
        played = tuple(layer.tolist()) if np.ndim(layer) else int(layer)
        (for_probe, for_multipliers), diagnostics = run(
            case.probe, case.multipliers, setup.classifier.params, case.inputs, played
        )
        # Our λ descends on −λ·(D − m), PyTorch's ascends on λ·(D − m).
        expected = player_weights(for_probe, -for_multipliers)
        return float(diagnostics.loss), np.asarray(diagnostics.divergence, np.float64), expected

    return at


def _lean(
    setup: Setup, case: Example, frozen: Network, layer: Any, way: Way
) -> tuple[Outcome, Weights]:
    play = bert_steps.start(
        frozen,
        player_weights(case.probe, case.multipliers),
        GATINGS[setup.config.gate],
        stakes(setup),
        moving(setup),
        _noise(setup, case, layer),
        way,
    )
    batch = bert_steps.clean(play, *map(_tensor, case.inputs))
    drawn = layer if isinstance(layer, int) else _tensor(layer).long()
    outcome = bert_steps.lean_pass(play, batch, drawn)
    return outcome, gradients(play.players)


def _authors(setup: Setup, case: Example, model: Module, layer: int) -> tuple[Outcome, Weights]:
    play = bert_authors.start(
        model,
        player_weights(case.probe, case.multipliers),
        GATINGS[setup.config.gate],
        stakes(setup),
        setup.rates,
        _noise(setup, case, layer),
    )
    length = case.inputs.valid.shape[1]
    wider = ((0, 0), (0, max(padded(setup), length) - length))
    tokens, valid = (_tensor(np.pad(a, wider)) for a in (case.inputs.tokens, case.inputs.valid))
    bert_authors.authors_pass(play, play.moved.dual, [tokens, valid], layer)
    outcome = bert_authors.authors_pass(play, play.moved.primal, [tokens, valid], layer)
    return outcome, gradients(play.players)


def _keys(gate_key: Key[Array, ""], batch: int) -> Key[Array, " B"]:
    """The key of each example, as `game.steps.step` makes them."""
    return jax.vmap(jax.random.fold_in, (None, 0))(gate_key, jnp.arange(batch))


def _noise(setup: Setup, case: Example, played: Any) -> Noise:
    """The noise that `objective` draws for rows with a vote, and zeros at further padding."""
    layers = len(setup.game.model.layers)
    batch, length = case.inputs.valid.shape

    def noise(layer: int, shape: torch.Size) -> Tensor:
        def of_example(key: Key[Array, ""]) -> Array:
            return jax.random.logistic(jax.random.split(key, layers)[layer], (length,))

        drawn = np.asarray(jax.vmap(of_example)(_keys(case.key, batch)))
        if np.ndim(played):
            drawn = drawn[[layer in setup.game.probe.votes(depth) for depth in played]]
        return _tensor(np.pad(drawn, ((0, 0), (0, shape[1] - length))))

    return noise


def _tensor(array: Any) -> Tensor:
    return torch.tensor(np.asarray(array)).to(DEVICE)


def _largest(expected: Weights, theirs: Weights, divergence: float) -> float:
    """The largest relative difference over all weights; absolute where gradients should be zero.

    A matrix with weight normalisation is one weight: the gradient of its length, a single number,
    may be all but zero while those of its direction are not, and is no more exact than they are.

    divergence: the size of D, relative to which λ's gradient D − m is measured: near the margin the
    difference is small, but D is no more exact than elsewhere
    """
    largest: dict[str, float] = {"multipliers": divergence}
    for name, value in expected.items():
        weight = _weight(name)
        largest[weight] = max(largest.get(weight, 0.0), float(np.abs(value).max()))
    return max(
        float(np.abs(theirs[name] - value).max()) / (largest[_weight(name)] or 1.0)
        for name, value in expected.items()
    )


def _weight(name: str) -> str:
    """The name of a weight, of which PyTorch's weight normalisation makes two parameters."""
    return name.removesuffix(".original0").removesuffix(".original1")
