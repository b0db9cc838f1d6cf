"""The growth of time and memory with batch, length, blocks and devices, and what devices exchange.

Measured on a network of a MiniLM's shape with random weights, and texts of random tokens of one
length.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import markdown
from diffmask_jax.runtime.plain_lines import followed
from experiments.common.report import Claim, Timer, claim
from experiments.throughput import bert, data
from experiments.throughput.course import Chunk, Setup, chunks, prepare
from experiments.throughput.devices import BATCH, NETWORK, measure_apart
from experiments.throughput.figures import Curve, growth_figure
from experiments.throughput.ours import ours, program, working_mib
from experiments.throughput.pytorch import contenders as throughput_torch
from experiments.throughput.race import Section, lap

BLOCKS, STEPS, TIMED = 6, 2, 3
DEVICES = (1, 2, 4, 8)


class Point(NamedTuple):
    """One shape of the work."""

    batch: int = 64
    length: int = 24
    blocks: int = BLOCKS


CURVES: dict[str, list[Point]] = {
    "batch": [Point(batch=n) for n in (8, 16, 32, 64, 128)],
    "length": [Point(batch=8, length=n) for n in (16, 32, 64, 128, 256, 512)],
    "blocks": [Point(blocks=n) for n in (1, 2, 4, 6)],
}

Speeds = dict[str, list[float]]
"""Contender -> examples per second, one number per timed call."""


class Cost(NamedTuple):
    """The cost of a point: both contenders' speeds, and our program's working memory in MiB."""

    speeds: Speeds
    mib: float


def run(
    folder: Path,
    timer: Timer,
    curves: dict[str, list[Point]] = CURVES,
    counts: Sequence[int] = DEVICES,
) -> Section:
    """All curves, and the claims about memory and bytes. curves, counts: fewer for tests."""
    network = data.small(max(p.blocks for points in curves.values() for p in points))
    classifier = data.random_weights(network)
    measured: dict[str, list[Cost]] = {}
    with timer.part("growth: PyTorch's threads"):
        setup, chunk = case(classifier, Point(blocks=network.blocks))
        threads = bert.settle_threads(setup, chunk)
    with timer.part("growth: batch, length, blocks"):
        points = [(name, point) for name, points in curves.items() for point in points]
        for name, point in followed(points, "growth", "points"):
            measured.setdefault(name, []).append(cost_of(classifier, point))
    with timer.part("growth: devices"):
        apart = [measure_apart(count) for count in followed(counts, "devices", "counts")]
    drawn = {name: _curve(name, points, measured[name]) for name, points in curves.items()}
    drawn["simulated devices"] = Curve(
        list(counts),
        {bert.OURS: [part["examples_per_second"] for part in apart]},
        [part["mib"] for part in apart],
    )
    growth_figure(folder / "growth.png", drawn)
    raw = {
        "points": {
            name: [
                {**point._asdict(), "examples_per_second": cost.speeds, "mib": cost.mib}
                for point, cost in zip(points, measured[name], strict=True)
            ]
            for name, points in curves.items()
        },
        "devices": apart,
        "threads": threads,
    }
    body = BODY.format(table=byte_table(apart), blocks=NETWORK.blocks, threads=threads["threads"])
    claims = [*memory_claims(curves, measured), *byte_claims(apart)]
    return Section("Growth", claims, body, raw)


def cost_of(classifier: Classifier, point: Point) -> Cost:
    """The cost of both, in turn, each after an untimed call.

    PyTorch's way is fixed, lean, and on a CPU with oneDNN's products: heats at every point would
    take longer than everything else.
    """
    setup, chunk = case(classifier, point)
    ways = throughput_torch.ways("float32")
    name = "oneDNN's products" if "oneDNN's products" in ways else "lean"
    network = throughput_torch.network(setup, "float32")
    compiled = program(setup, chunk)
    contenders = {
        bert.OURS: ours(setup, [chunk], ready={chunk.length: compiled}),
        f"PyTorch, {name}": throughput_torch.lean(setup, network, ways[name]),
    }
    for contender in contenders.values():
        contender.run(chunk)
    by_name: Speeds = {name: [] for name in contenders}
    for _ in range(TIMED):
        for name, contender in contenders.items():
            by_name[name].append(lap(contender, [chunk]).speed)
    return Cost(by_name, working_mib(compiled))


def case(classifier: Classifier, point: Point) -> tuple[Setup, Chunk]:
    """The setup and the chunk that both run."""
    cut = data.shallower(classifier, point.blocks)
    setup = prepare(cut, "input", batch=point.batch, steps=STEPS)
    rng = np.random.default_rng(0)
    rows = rng.integers(1, setup.sizes.vocabulary, (point.batch * STEPS, point.length))
    return setup, next(chunks(setup, [data.text(row) for row in rows]))


def memory_claims(curves: dict[str, list[Point]], measured: dict[str, list[Cost]]) -> list[Claim]:
    """Memory grows at most in proportion to each quantity, between its two largest values.

    There the memory that does not depend on the quantity matters least.
    """
    claims = []
    for name, points in curves.items():
        least, most = (getattr(point, name) for point in points[-2:])
        before, after = (cost.mib for cost in measured[name][-2:])
        claims.append(
            claim(
                f"growth.memory_with_{name}",
                f"from {name} {least} to {most} memory grows at most {most / least:g} times",
                [after / before],
                paper=None,
                unit="×",
                holds=after / before <= most / least,
            )
        )
    return claims


def byte_claims(apart: Sequence[dict[str, Any]]) -> list[Claim]:
    """The claims about what several devices exchange."""
    several = [part for part in apart if part["devices"] > 1]
    extra = [
        size - part["gradient_bytes"] - part["other_bytes"]
        for part in several
        for size in part["exchanged"].values()
    ]
    grown = [part["exchanged"][str(2 * BATCH)] / part["exchanged"][str(BATCH)] for part in several]
    return [
        claim(
            "growth.bytes",
            "a step exchanges the probe's gradients, λ's and five means, a call its notice and a "
            "loss: bytes beyond these",
            [float(n) for n in extra],
            paper=None,
            unit="bytes",
            holds=not any(extra),
        ),
        claim(
            "growth.bytes_with_batch",
            "a batch twice as large exchanges as many bytes",
            grown,
            paper=None,
            unit="×",
            holds=all(ratio == 1 for ratio in grown),
        ),
    ]


def byte_table(apart: Sequence[dict[str, Any]]) -> str:
    """One row per number of devices, in Markdown: what they exchange."""
    head = ("devices", f"bytes at a batch of {BATCH}", f"of {2 * BATCH}", "gradients of the probe")
    rows = [
        [
            str(part["devices"]),
            *(f"{part['exchanged'][str(batch)]:,}" for batch in (BATCH, 2 * BATCH)),
            f"{part['gradient_bytes']:,}",
        ]
        for part in apart
    ]
    return markdown.table(head, rows)


def _curve(name: str, points: Sequence[Point], costs: Sequence[Cost]) -> Curve:
    contenders = costs[0].speeds
    speeds = {who: [statistics.median(cost.speeds[who]) for cost in costs] for who in contenders}
    return Curve([getattr(point, name) for point in points], speeds, [cost.mib for cost in costs])


BODY = """
![examples per second and memory](growth.png)

Training steps of the input probe, one layer per example, float32. PyTorch, with {threads} threads,
is written in one fixed way, which need not be its fastest at every point. Memory is the working
memory of our compiled program besides weights, probe and data (XLA's own count), on several devices
that of each. Simulated devices share this machine's cores: at best the speed stays level. What a
step exchanges, from the compiled program ({blocks} blocks), with the probe's gradients beside it:

{table}
"""
