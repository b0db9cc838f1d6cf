"""Training steps of the input probe on networks for question answering, at 384 word pieces: one of
BERT-large's shape, as in the paper, and one of a MiniLM's, for people's own machines."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.config import EncoderConfig
from experiments.common.report import Timer
from experiments.throughput import bert, data
from experiments.throughput.bert import Field
from experiments.throughput.course import Chunk, Setup, chunks, prepare
from experiments.throughput.race import Section


class Work(NamedTuple):
    """The work: a network, pieces per text, examples per batch, steps per call, calls per round,
    and the largest number of rounds."""

    config: EncoderConfig
    length: int
    batch: int
    steps: int
    each: int
    rounds: int


ON_CPU = {
    "squad": Work(data.LARGE, 384, batch=2, steps=1, each=1, rounds=2),
    "squad.small": Work(data.small(), 384, batch=8, steps=1, each=1, rounds=5),
}
ON_GPU = {
    "squad": Work(data.LARGE, 384, batch=8, steps=4, each=2, rounds=7),
    "squad.small": Work(data.small(), 384, batch=64, steps=4, each=2, rounds=7),
}
HEAT_BLOCKS = 4
"""The number of blocks in heats and checks of agreement, since all blocks are alike."""

GOALS = {"squad.vs_best_pytorch": 1.1, "squad.bfloat16.vs_best_pytorch": 1.0}
ON_CARD = {"squad.bfloat16.vs_best_pytorch": 1.3}


def run(
    precisions: Sequence[str], rounds: int, timer: Timer, works: Mapping[str, Work] | None = None
) -> Iterator[Section]:
    """One race per network; yields all results so far after each. works: smaller ones for tests.

    Raises: UserError if the contenders do not compute the same thing.
    """
    on_gpu = jax.default_backend() != "cpu"
    goals = ON_CARD if on_gpu else GOALS
    rates, claims, bodies, raw = bert.rates(precisions), [], [], {}
    for name, work in (works or (ON_GPU if on_gpu else ON_CPU)).items():
        one = _race(name, work, precisions, min(rounds, work.rounds), timer, rates)
        claims += bert.make_claims(name, one.finish, goals)
        bodies.append(one.body)
        raw[name] = one.raw
        yield Section(
            "SQuAD's shape", claims, "\n".join(bodies), raw | {"matrix_flops_per_second": rates}
        )


class _Raced(NamedTuple):
    finish: bert.Finish
    body: str
    raw: dict[str, Any]


def _race(
    name: str,
    work: Work,
    precisions: Sequence[str],
    rounds: int,
    timer: Timer,
    rates: dict[str, float],
) -> _Raced:
    whole = data.random_answerer(work.config)
    part = data.shallower(whole, min(HEAT_BLOCKS, work.config.blocks))
    setups, lower = (
        {p: setup_of(network, work, p) for p in precisions} for network in (whole, part)
    )
    first, tries = lower[precisions[0]], 2 if jax.default_backend() == "cpu" else 3
    texts = texts_of(work, rounds)
    with timer.part(f"{name}: PyTorch's threads and heats"):
        chunk = next(chunks(first, texts))
        threads = bert.settle_threads(first, chunk, tries)
        fastest = {p: bert.heats(s, p, chunk, tries) for p, s in lower.items()}
    with timer.part(f"{name}: memory"):
        alone = functools.partial(step_of, work)
        memory = bert.measure_memory(alone, fastest, threads["threads"])
    with timer.part(f"{name}: race"):
        field = Field(setups, texts, fastest, {}, rates)
        finish = bert.run(field, rounds, work.each, name, compared=lower.get("float32"))
    body = BODY.format(
        blocks=work.config.blocks,
        width=work.config.width,
        length=work.length,
        batch=work.batch,
        rounds=rounds,
        heat_blocks=first.sizes.blocks,
        best="; ".join(f"{p}: {f.told}" for p, f in fastest.items()),
        table=bert.table(finish, memory),
    )
    heats = {p: f.heats for p, f in fastest.items()}
    raw = bert.raw(finish) | {"threads": threads, "heats": heats, "peak_mib": memory}
    return _Raced(finish, body, raw)


def setup_of(classifier: Classifier, work: Work, precision: str) -> Setup:
    """The game before its first step."""
    return prepare(
        classifier, "input", precision, batch=work.batch, steps=work.steps, padded=work.length
    )


def texts_of(work: Work, rounds: int) -> list[Encoded]:
    """As many random texts as so many rounds read."""
    rng, count = np.random.default_rng(0), rounds * work.each * work.batch * work.steps
    return [data.text(rng.integers(1, work.config.vocabulary, work.length)) for _ in range(count)]


def step_of(work: Work, precision: str) -> tuple[Setup, Sequence[Encoded], Chunk]:
    """The game on the whole network, its texts, and a chunk of them (`course.Alone`)."""
    setup, texts = setup_of(data.random_answerer(work.config), work, precision), texts_of(work, 1)
    return setup, texts, next(chunks(setup, texts))


BODY = """
BERT of {blocks} blocks of width {width} with random weights and a span head, start and end logits
at every position; texts of {length} word pieces, batches of {batch}, input probe, each example at a
depth of its own from the lowest up, {rounds} rounds. PyTorch's best: {best}. None cuts the last
block short, for the head reads all of it. Heats and agreement (in float32 alone) are those of the
lowest {heat_blocks} blocks. Memory: what a process grows by that takes steps of this kind and does
nothing else, weights, programs and activations; on a GPU, what the framework's allocator gave out.

{table}
"""
