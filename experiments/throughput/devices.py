"""A training step on simulated devices, as JSON: its speed, memory, and the bytes they exchange.

    python -m experiments.throughput.devices DEVICES

`growth` starts one process for each number of devices, since JAX fixes that number at its first
use. All devices share this machine's cores, so that the speed cannot grow with their number; the
measurement is about what they exchange.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.game.objective import Diagnostics
from experiments.common.command import command, parser_of
from experiments.throughput import data
from experiments.throughput.course import Chunk, Setup, chunks, prepare
from experiments.throughput.ours import ours, program, working_mib

BATCH, LENGTH, STEPS, TIMED = 64, 24, 2, 3
NETWORK = dataclasses.replace(data.small(blocks=1), vocabulary=1000)


def measure_apart(count: int) -> dict[str, Any]:
    """The result of `measure` in a process with so many simulated CPU devices."""
    command = [sys.executable, "-m", __name__, str(count)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, env=environment, cwd=root, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> dict[str, Any]:
    """Examples per second, MiB per device, and bytes exchanged per step at a batch and twice it."""
    measured: dict[str, Any] = {"devices": jax.device_count(), "exchanged": {}}
    for batch in (2 * BATCH, BATCH):
        setup, chunk = _case(batch)
        compiled = program(setup, chunk)
        measured["exchanged"][batch] = exchanged(compiled.as_text())
    contender = ours(setup, [chunk], ready={chunk.length: compiled})
    contender.run(chunk)
    start = time.perf_counter()
    for _ in range(TIMED):
        contender.run(chunk)
    seconds = time.perf_counter() - start
    measured["mib"] = working_mib(compiled)
    leaves = jax.tree.leaves(setup.probe)
    measured["examples_per_second"] = TIMED * STEPS * BATCH / seconds
    measured["gradient_bytes"] = sum(leaf.nbytes for leaf in leaves)
    # Per step its loss, and for every layer λ's gradient and the other diagnostics; per call its
    # notice and its last loss.
    others = len(setup.game.model.layers) * len(Diagnostics._fields) + 3
    measured["other_bytes"] = 4 * others
    return measured


def exchanged(text: str) -> int:
    """The bytes that all collective operations of a compiled program take in, from its text."""
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    total = 0
    for shapes, _ in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text):
        for bits, shape in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shapes):
            total += int(bits) // 8 * int(np.prod([int(n) for n in shape.split(",") if n]))
    return total


def _case(batch: int) -> tuple[Setup, Chunk]:
    classifier = data.random_weights(NETWORK)
    rng = np.random.default_rng(0)
    rows = rng.integers(1, NETWORK.vocabulary, (batch * STEPS, LENGTH))
    setup = prepare(classifier, "input", batch=batch, steps=STEPS)
    return setup, next(chunks(setup, [data.text(row) for row in rows]))


@command("throughput.devices", goes_on=False)
def main() -> None:
    """Reads the command line and measures."""
    parser = parser_of("throughput.devices", __doc__)
    parser.add_argument("devices", type=int, help="number of devices to simulate")
    devices = parser.parse_args().devices
    if devices < 1:
        raise UserError(f"DEVICES must be at least 1, not {devices}")
    jax.config.update("jax_num_cpu_devices", devices)
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
