"""What a training step of the hidden probe costs by the layer it masks: blocks below are skipped.

The layer is a traced number, so one compiled program serves all of them.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game import probes, steps
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.game.objective import Clean, Game, clean_pass, mean_keep
from diffmask_jax.game.optimizers import Rates
from diffmask_jax.models.hub import load_bert
from experiments.common.report import claim, write_report

BATCH, LENGTH = 64, 24


def run(model: str, folder: Path, rounds: int) -> None:
    """Time steps at every layer, interleaved, with the clean states given; writes the report."""
    checkpoint = load_bert(model)
    layers, width = checkpoint.model.layers, checkpoint.config.width
    game = Game(checkpoint.model, probes.hidden_probe(width // 4), CATEGORICAL, 0.1, mean_keep)
    rates = Rates()
    rng = np.random.default_rng(0)
    tokens = rng.integers(1000, checkpoint.config.vocabulary, (BATCH, LENGTH)).astype(np.int32)
    inputs = TextInputs(tokens, np.zeros_like(tokens), np.ones_like(tokens, bool))
    clean = jax.block_until_ready(
        jax.jit(lambda params, inputs: clean_pass(game, params, inputs))(checkpoint.params, inputs)
    )
    states = (jnp.zeros((1, 1, width)),) * len(layers)
    params = probes.init(jax.random.key(0), game.probe, states, [jnp.zeros(width)] * len(layers))
    state = steps.init(params, len(layers), rates)

    @jax.jit
    def step(state: steps.TrainState, params: Any, clean: Clean, layer: Any) -> Any:
        return steps.step(
            state, jax.random.key(0), clean, lambda clean: clean, lambda key, batch: layer,
            game=game, rates=rates, model_params=params,
        )  # fmt: skip

    def seconds(layer: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(step(state, checkpoint.params, clean, jnp.int32(layer)))
        return time.perf_counter() - start

    seconds(0)
    times = [[seconds(layer) for layer in range(len(layers))] for _ in range(rounds)]
    ratios = [row[-1] / row[0] for row in times]
    median = [statistics.median(column) for column in zip(*times, strict=True)]
    top = claim(
        "sst.hidden.top_over_bottom",
        f"time of a step that masks the last state over one that masks the first, {rounds} rounds",
        [statistics.median(ratios)], paper=None, unit="×", holds=statistics.median(ratios) < 0.5,
    )  # fmt: skip
    lines = [f"Steps on {BATCH} × {LENGTH} tokens, clean states given, median of the rounds.", ""]
    lines += ["| masked state | ms a step | of the first |", "|---|---|---|"]
    for layer, value in zip(layers, median, strict=True):
        lines.append(f"| {layer} | {1000 * value:.1f} | {value / median[0]:.2f} |")
    body = "\n".join(lines)
    write_report(
        folder, "Hidden probe: the cost of a step by layer", [top], {}, body=body,
        raw={"layers": layers, "seconds": times},
    )  # fmt: skip
    print(body)
