"""The cost of a training step of the hidden probe by the masked layer: blocks below are skipped.

The layer is a traced number, so that one compiled program serves all layers.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game import steps
from diffmask_jax.game.objective import Clean, clean_pass
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime import markdown
from experiments.common.report import claim, write_report
from experiments.throughput.course import prepare

BATCH, LENGTH = 64, 24


def run(model: str, folder: Path, rounds: int) -> None:
    """Time steps at every layer, interleaved, with given clean states, and write the report."""
    setup = prepare(load_classifier(model), "hidden", setting="authors")
    game, layers = setup.game, setup.game.model.layers
    params = setup.classifier.params
    rng = np.random.default_rng(0)
    tokens = rng.integers(1000, setup.sizes.vocabulary, (BATCH, LENGTH)).astype(np.int32)
    inputs = TextInputs(tokens, np.zeros_like(tokens), np.ones_like(tokens, bool))
    clean = jax.jit(lambda params, inputs: clean_pass(game.model, params, inputs))(params, inputs)
    state = steps.init(setup.probe, len(layers), setup.players)

    @jax.jit
    def step(state: steps.TrainState, params: Any, clean: Clean, layer: Any) -> Any:
        play = steps.Play(
            game, setup.players, params, lambda clean: clean, lambda key, batch: layer
        )
        return steps.step(state, jax.random.key(0), clean, play)

    def seconds(layer: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(step(state, params, clean, jnp.int32(layer)))
        return time.perf_counter() - start

    seconds(0)
    times = [[seconds(layer) for layer in range(len(layers))] for _ in range(rounds)]
    ratios = [row[-1] / row[0] for row in times]
    median = [statistics.median(column) for column in zip(*times, strict=True)]
    top = claim(
        "sst.hidden.top_over_bottom",
        f"time of a step that masks the last state over one that masks the first, {rounds} rounds",
        [statistics.median(ratios)],
        paper=None,
        unit="×",
        holds=statistics.median(ratios) < 0.5,
    )
    table = markdown.table(
        ("masked state", "ms a step", "of the first"),
        (
            (layer, f"{1000 * value:.1f}", f"{value / median[0]:.2f}")
            for layer, value in zip(layers, median, strict=True)
        ),
    )
    told = f"Steps on {BATCH} × {LENGTH} tokens, clean states given, median of the rounds."
    body, raw = f"{told}\n\n{table}", {"layers": layers, "seconds": times}
    title = "Hidden probe: the cost of a step by layer"
    write_report(folder, title, [top], {}, body=body, raw=raw)
    print(body)
