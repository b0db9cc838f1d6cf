"""The share of a device's matrix rate that training uses: operations counted from shapes."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.models.config import EncoderConfig
from experiments.throughput.course import Chunk, Setup

SIZES = {"cpu": 2048}
LARGE = 8192  # rows of the square matrices on an accelerator
SECONDS = 1.0


def matrix_rate(precision: str) -> float:
    """FLOP/s of one large matrix product, the best of as many as fit into a second."""
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


class Flops(NamedTuple):
    """The operations of a block's forward pass: products with weights, and attention's two."""

    weights: int
    attention: int

    @property
    def forward(self) -> int:
        """The operations of the forward pass: products with weights, q·kᵀ, and the mixing of v."""
        return self.weights + self.attention

    @property
    def backward(self) -> int:
        """The operations of gradients of activations: two per attention product, else as many."""
        return self.weights + 2 * self.attention


def block_flops(config: EncoderConfig, batch: int, length: int) -> Flops:
    """The operations of a whole block."""
    width = config.width
    weights = 4 * width**2 + 2 * width * config.intermediate
    return Flops(2 * batch * length * weights, 4 * batch * length**2 * width)


def last_block_flops(config: EncoderConfig, batch: int, length: int) -> Flops:
    """The operations of a block of which only the first row is read: k and v of all rows, and one
    row of everything else."""
    width = config.width
    keys_and_values = length * 2 * width**2
    one_row = 2 * width**2 + 2 * width * config.intermediate
    return Flops(2 * batch * (keys_and_values + one_row), 4 * batch * length * width)


def needed_flops(setup: Setup, chunks: Iterable[Chunk], steps: int | None, cached: bool) -> float:
    """The operations of the frozen model, without the probe, in the first steps of some chunks.

    They are a clean pass of whole blocks, unless it is cached, and the blocks above the masked
    state forwards and backwards, the last of them for the rows that the head reads. Padding counts.
    """
    total, blocks = 0.0, setup.sizes.blocks
    for chunk in chunks:
        batch, shape = chunk.batch.indices.shape[1], (setup.sizes, 1, chunk.length)
        whole = block_flops(*shape)
        last = whole if setup.reads is None else last_block_flops(*shape)
        for layer in chunk.layers[:steps]:
            total += 0 if cached else batch * blocks * whole.forward
            # One row at a time; states 0 and 1 are below the first block.
            for target in np.broadcast_to(setup.game.probe.target(layer), batch).tolist():
                if masked := blocks - max(target - 1, 0):
                    total += (masked - 1) * (whole.forward + whole.backward)
                    total += last.forward + last.backward
    return total
