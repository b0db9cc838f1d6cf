"""The growth of speed with batch, length, layers and devices, and the bytes that devices exchange.

Measured on a network of a MiniLM's shape with random weights, and texts of random tokens of one
length.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import markdown
from experiments.common.report import Claim, Timer, claim
from experiments.throughput import bert, data
from experiments.throughput.course import Chunk, Setup, chunks, prepare
from experiments.throughput.devices import BATCH, NETWORK, measure_apart
from experiments.throughput.figures import growth_figure
from experiments.throughput.ours import ours
from experiments.throughput.pytorch import contenders as throughput_torch
from experiments.throughput.race import Section, lap

BLOCKS, STEPS, TIMED = 6, 2, 3
OURS = "ours"
DEVICES = (1, 2, 4, 8)


class Point(NamedTuple):
    """One shape of the work."""

    batch: int = 64
    length: int = 24
    blocks: int = BLOCKS


CURVES: dict[str, list[Point]] = {
    "batch": [Point(batch=n) for n in (8, 16, 32, 64, 128)],
    "length": [Point(batch=16, length=n) for n in (16, 32, 64, 128)],
    "blocks": [Point(blocks=n) for n in (1, 2, 4, 6)],
}

Speeds = dict[str, list[float]]
"""Contender -> examples per second, one number per timed call."""


def run(
    folder: Path,
    timer: Timer,
    curves: dict[str, list[Point]] = CURVES,
    counts: Sequence[int] = DEVICES,
) -> Section:
    """All curves, and the claims about bytes. curves, counts: fewer for tests."""
    network = data.small(max(p.blocks for points in curves.values() for p in points))
    classifier = data.random_weights(network)
    measured: dict[str, list[Speeds]] = {}
    with timer.part("growth: PyTorch's threads"):
        setup, chunk = case(classifier, Point(blocks=network.blocks))
        threads = bert.settle_threads(setup, chunk)
    with timer.part("growth: batch, length, blocks"):
        points = [(name, point) for name, points in curves.items() for point in points]
        for name, point in tqdm(points, "growth", disable=None, leave=False):
            measured.setdefault(name, []).append(speeds(classifier, point))
    with timer.part("growth: devices"):
        shown = tqdm(counts, "devices", disable=None, leave=False)
        apart = [measure_apart(count) for count in shown]
    drawn = {
        name: ([getattr(point, name) for point in points], _medians(measured[name]))
        for name, points in curves.items()
    }
    on_devices = {OURS: [part["examples_per_second"] for part in apart]}
    drawn["simulated devices"] = list(counts), on_devices
    growth_figure(folder / "growth.png", drawn)
    table = markdown.table(
        ("devices", f"bytes at a batch of {BATCH}", f"of {2 * BATCH}", "gradients of the probe"),
        (
            [
                str(part["devices"]),
                *(f"{part['exchanged'][str(batch)]:,}" for batch in (BATCH, 2 * BATCH)),
                f"{part['gradient_bytes']:,}",
            ]
            for part in apart
        ),
    )
    raw = {
        "points": {
            name: [
                {**point._asdict(), "examples_per_second": speed}
                for point, speed in zip(points, measured[name], strict=True)
            ]
            for name, points in curves.items()
        },
        "devices": apart,
        "threads": threads,
    }
    body = BODY.format(table=table, blocks=NETWORK.blocks, threads=threads["threads"])
    return Section("Growth", make_claims(apart), body, raw)


def speeds(classifier: Classifier, point: Point) -> Speeds:
    """The speeds of both, in turn, each after an untimed call.

    PyTorch's way is fixed, lean, and on a CPU with oneDNN's products: heats at every point would
    take longer than everything else.
    """
    setup, chunk = case(classifier, point)
    ways = throughput_torch.ways("float32")
    name = "oneDNN's products" if "oneDNN's products" in ways else "lean"
    network = throughput_torch.network(setup, "float32")
    contenders = {
        OURS: ours(setup, [chunk]),
        f"PyTorch, {name}": throughput_torch.lean(setup, network, ways[name]),
    }
    for contender in contenders.values():
        contender.run(chunk)
    by_name: Speeds = {name: [] for name in contenders}
    for _ in range(TIMED):
        for name, contender in contenders.items():
            by_name[name].append(lap(contender, [chunk]).speed)
    return by_name


def case(classifier: Classifier, point: Point) -> tuple[Setup, Chunk]:
    """The setup and the chunk that both run."""
    cut = data.shallower(classifier, point.blocks)
    setup = prepare(cut, "input", batch=point.batch, steps=STEPS)
    rng = np.random.default_rng(0)
    rows = rng.integers(1, setup.sizes.vocabulary, (point.batch * STEPS, point.length))
    return setup, next(chunks(setup, [data.text(row) for row in rows]))


def make_claims(apart: Sequence[dict[str, Any]]) -> list[Claim]:
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


def _medians(points: Sequence[Speeds]) -> dict[str, list[float]]:
    return {name: [statistics.median(speed[name]) for speed in points] for name in points[0]}


BODY = """
![examples per second](growth.png)

Training steps of the input probe, one layer per example, float32. PyTorch, with {threads} threads,
is written in one fixed way, which need not be its fastest at every point. Simulated devices share
this machine's cores: at best the speed stays level. What a step exchanges, from the compiled
program ({blocks} blocks), with the probe's gradients beside it:

{table}
"""
