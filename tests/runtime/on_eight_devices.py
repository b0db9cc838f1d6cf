"""What eight devices find beside what one finds: run by test_devices.py in a process of its own.

The number of simulated devices must be set before JAX starts. Trainings are compared in float64:
the optimiser divides small gradients by their own deviation, which lets the rounding of float32
grow without end.

    python on_eight_devices.py RUN TEXTS OUT.npz GATE...
"""

import functools
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from diffmask_jax import Explainer
from diffmask_jax.analysis import faithfulness
from diffmask_jax.attribution import per_example
from diffmask_jax.game import probes, steps
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.model import Model
from diffmask_jax.game.objective import Game, clean_pass, mean_keep
from diffmask_jax.game.players import Rates, settling
from diffmask_jax.runtime import devices
from diffmask_jax.training.clean_states import look_up

B, T, D, LAYERS, TEXTS, STEPS = 16, 6, 8, 2, 40, 20
PLAYERS = settling(0.05, Rates(1e-3, 1e-3, 0.01, warmup=0))


class Inputs(NamedTuple):
    embedded: Any
    valid: Any


def _rest(params: Array, inputs: Inputs, state: Array, layer: Any) -> Array:
    for k in range(LAYERS - 1):
        state = jnp.where(jnp.asarray(layer) <= k, jnp.tanh(state @ params), state)
    return jnp.where(inputs.valid[..., None], state, 0.0).sum(1) @ params[:, :3]


def _states(params: Array, inputs: Inputs) -> tuple[Array, tuple[Array, ...]]:
    states = [inputs.embedded]
    for _ in range(LAYERS - 1):
        states.append(jnp.tanh(states[-1] @ params))
    return _rest(params, inputs, states[-1], LAYERS - 1), tuple(states)


MODEL = Model(_states, _rest, tuple("01"), CATEGORICAL)
GAMES = {
    "input": Game(MODEL, probes.input_probe(8), 0.05, mean_keep),
    "hidden": Game(MODEL, probes.hidden_probe(8), 0.05, mean_keep),
    "staircase": Game(MODEL, probes.hidden_probe(8), 0.05, mean_keep),
}
DRAWS = {
    "input": steps.one_layer_an_example(LAYERS),
    "hidden": steps.one_layer_a_batch(LAYERS),
    "staircase": steps.one_layer_an_example(LAYERS),
}
BATCHES = {"input": 8 * LAYERS, "hidden": B, "staircase": 8 * LAYERS}
RNG = np.random.default_rng(0)
PARAMS = RNG.normal(size=(D, D))
DATA = Inputs(
    RNG.normal(size=(TEXTS, T, D)),
    np.arange(T) < RNG.integers(1, T + 1, (TEXTS, 1)),
)
SEED = 4


def start(gate: str) -> steps.TrainState:
    """Gates that are half open, so that everything has a gradient."""
    states, count = (jnp.zeros((1, T, D)),) * LAYERS, GAMES[gate].probe.baselines(LAYERS)
    params = probes.init(jax.random.key(SEED), GAMES[gate].probe, states, [jnp.zeros(D)] * count)
    params["gates"] = [network | {"shift": jnp.zeros(())} for network in params["gates"]]
    state = steps.init(params, LAYERS, PLAYERS)
    return jax.tree.map(
        lambda leaf: leaf.astype(float) if leaf.dtype == jnp.float32 else leaf, state
    )


def advance(mesh: Mesh, gate: str) -> tuple[Any, tuple[Any, ...]]:
    """A compiled call of many steps, and its arguments; the input probe looks its states up."""
    game = GAMES[gate]
    rows = np.random.default_rng(1).integers(0, TEXTS, (STEPS, BATCHES[gate]))
    if gate == "input":
        stored, entries, fetch = (
            jax.jit(clean_pass, static_argnums=0)(game.model, PARAMS, DATA),
            rows,
            look_up,
        )
    else:
        stored, entries = PARAMS, jax.tree.map(lambda array: array[rows], DATA)
        fetch = functools.partial(clean_pass, game.model)

    def play(state: steps.TrainState, given: Any, entries: Any) -> Any:
        look = functools.partial(fetch, given)
        play = steps.Play(game, PLAYERS, PARAMS, look, DRAWS[gate], axes=(devices.AXIS,))
        return steps.steps(state, jax.random.key(SEED), entries, play)

    arguments = (
        devices.place(start(gate), mesh, devices.WHOLE),
        devices.place(stored, mesh, devices.WHOLE),
        devices.place(entries, mesh, devices.STEPS),
    )
    jitted = jax.jit(devices.per_device(play, mesh), donate_argnums=0)
    return jitted.lower(*arguments).compile(), arguments


def exchanged(program: str) -> dict[str, int]:
    """Bytes that each kind of collective operation of a compiled program takes in."""
    found: dict[str, int] = {}
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    for shapes, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", program):
        sizes = [np.prod([int(n) for n in shape.split(",") if n]) for shape in
                 re.findall(r"f64\[([\d,]*)\]", shapes)]  # fmt: skip
        assert "f64" in shapes and not re.search("f32|f16", shapes)
        found[kind] = found.get(kind, 0) + 8 * int(sum(sizes))
    return found


def trained(mesh: Mesh, gate: str) -> dict[str, Any]:
    """Every number that a training ends with, and what its devices exchange."""
    compiled, arguments = advance(mesh, gate)
    state, seen = compiled(*arguments)
    leaves = jax.tree.leaves((state, seen))
    return {f"{gate} {mesh.size} {n:03}": np.asarray(leaf) for n, leaf in enumerate(leaves)} | {
        f"bytes {gate}": exchanged(compiled.as_text()),
        f"probe {gate}": sum(leaf.nbytes for leaf in jax.tree.leaves(state.probe.slow)),
    }


def attribute(params: Array, key: Array, inputs: Inputs) -> Array:
    """Per-example DiffMask on the first state."""
    clean = clean_pass(GAMES["input"].model, params, inputs)

    def divergence(state: Array) -> Array:
        return CATEGORICAL.divergence(clean.logits, _rest(params, inputs, state, 0))

    return per_example.diffmask(
        key, divergence, clean.states[0], inputs.valid, jnp.zeros(D), per_example.Settings(steps=50)
    ).logits


def main(run: str, texts: str, out: str, *gates: str) -> None:
    """Write every finding of one device and of eight to one file."""
    found: dict[str, Any] = {}
    key, few, probe = (
        jax.random.key(SEED),
        jax.tree.map(lambda array: array[:B], DATA),
        start("hidden").probe.slow,
    )
    outcome_of = functools.partial(
        faithfulness.outcome_of, GAMES["hidden"], faithfulness.sampled, PARAMS
    )
    meshes = [Mesh(np.array(jax.devices()[:count]), (devices.AXIS,)) for count in (1, 8)]
    with jax.enable_x64(True):
        for mesh in meshes:
            for gate in gates:
                found |= trained(mesh, gate)
    for mesh in meshes:
        count = mesh.size
        found[f"per example {count}"] = devices.spread(attribute, mesh)(PARAMS, key, few)
        outcome = devices.spread(outcome_of, mesh)(
            probe, key, faithfulness.Numbered(np.arange(B), few)
        )
        for name, array in zip(faithfulness.Outcome._fields, outcome, strict=True):
            found[f"outcome {count} {name}"] = np.asarray(array)
    explainer = Explainer.from_pretrained(run)
    lines = Path(texts).read_text(encoding="utf-8").splitlines()
    for number, explanation in enumerate([*explainer(lines), explainer(lines[0])]):
        found[f"keep {number}"] = explanation.keep
    np.savez(out, **found)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    main(*sys.argv[1:])
