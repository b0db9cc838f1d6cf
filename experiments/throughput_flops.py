"""How much of a device's matrix rate training uses: floating-point operations by shapes alone."""

import time
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from diffmask_jax.models.bert import BertConfig
from experiments.throughput_course import Chunk, Setup

SIZES = {"cpu": 2048}
LARGE = 8192  # of the square matrices on an accelerator
SECONDS = 1.0


def matrix_rate(precision: str) -> float:
    """FLOP/s of one large matrix product, the best of those that fit into a second."""
    size = SIZES.get(jax.default_backend(), LARGE)
    a = jnp.ones((size, size), jnp.dtype(precision))
    product = jax.jit(jnp.matmul).lower(a, a).compile()
    jax.block_until_ready(product(a, a))
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        jax.block_until_ready(product(a, a))
        best = min(best, time.perf_counter() - before)
    return 2 * size**3 / best


def block_flops(config: BertConfig, batch: int, length: int) -> int:
    """Of one block's forward pass: 2 · weights · tokens, and q·kᵀ and the mixing of v."""
    weights = 4 * config.width**2 + 2 * config.width * config.intermediate
    return 2 * batch * length * (weights + 2 * length * config.width)


def needed_flops(setup: Setup, chunks: Iterable[Chunk], steps: int | None, cached: bool) -> float:
    """What the first steps of some chunks need of the frozen model, probe left out.

    A clean pass unless it is cached, the blocks above the masked state once forwards, and once
    backwards to the activations, which costs the same. Padding counts as tokens.
    """
    total = 0.0
    for chunk in chunks:
        layers = chunk.layers[:steps]
        one = block_flops(setup.sizes, chunk.batch.indices.shape[1], chunk.length)
        masks_input = setup.config.gate == "input"
        for layer in layers:
            skipped = 0 if masks_input else max(int(layer) - 1, 0)
            total += one * (2 * (setup.sizes.blocks - skipped))
            total += 0 if cached else one * setup.sizes.blocks
    return total
