"""Training steps of the input probe on a BERT-large and texts of 384 word pieces, as SQuAD has."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from diffmask_jax.models.config import EncoderConfig
from experiments.common.report import Timer
from experiments.throughput import bert, data
from experiments.throughput.bert import Field
from experiments.throughput.course import chunks, prepare
from experiments.throughput.race import Section


class Shape(NamedTuple):
    """How much is run: examples a batch, batches a call, calls a round, rounds at most."""

    batch: int
    steps: int
    each: int
    rounds: int


ON_CPU, ON_GPU = Shape(2, 1, 1, 2), Shape(8, 4, 2, 7)
HEAT_BLOCKS = 4
"""So many tell which way is fast, and whether all agree: all blocks are alike."""

GOALS = {"squad.vs_best_pytorch": 1.1, "squad.bfloat16.vs_best_pytorch": 1.0}
ON_CARD = {"squad.bfloat16.vs_best_pytorch": 1.3}


def run(
    precisions: Sequence[str],
    rounds: int,
    timer: Timer,
    config: EncoderConfig = data.LARGE,
    length: int = 384,
) -> Section:
    """The race; config and length: smaller ones for tests.

    Raises: UserError if the contenders do not compute the same thing.
    """
    on_gpu = jax.default_backend() != "cpu"
    shape = ON_GPU if on_gpu else ON_CPU
    rounds = min(rounds, shape.rounds)
    whole = data.random_weights(config)
    rng = np.random.default_rng(0)
    count = rounds * shape.each * shape.batch * shape.steps
    texts = [data.text(rng.integers(1, config.vocabulary, length)) for _ in range(count)]
    part = data.shallower(whole, min(HEAT_BLOCKS, config.blocks))
    setups, lower = (
        {
            p: prepare(network, "input", p, batch=shape.batch, steps=shape.steps, padded=length)
            for p in precisions
        }
        for network in (whole, part)
    )
    first = lower[precisions[0]]
    rates = bert.rates(precisions)
    with timer.part("SQuAD: PyTorch's threads and heats"):
        tries = 3 if on_gpu else 2
        chunk = next(chunks(first, texts))
        threads = bert.settle_threads(first, chunk, tries)
        fastest = {p: bert.heats(s, p, chunk, tries) for p, s in lower.items()}
    with timer.part("SQuAD: race"):
        field = Field(setups, texts, fastest, {}, rates)
        finish = bert.run(field, rounds, shape.each, "squad", compared=lower.get("float32"))
    raw = bert.raw(finish) | {
        "threads": threads,
        "heats": {p: f.heats for p, f in fastest.items()},
        "matrix_flops_per_second": rates,
    }
    body = BODY.format(
        blocks=config.blocks,
        width=config.width,
        length=length,
        batch=shape.batch,
        rounds=rounds,
        heat_blocks=first.sizes.blocks,
        best="; ".join(f"{p}: {f.told}" for p, f in fastest.items()),
        table=bert.table(finish, {}),
    )
    claims = bert.make_claims("squad", finish, ON_CARD if on_gpu else GOALS)
    return Section("SQuAD's shape", claims, body, raw)


BODY = """
BERT of {blocks} blocks of width {width} with random weights and a classification head, texts of
{length} word pieces, batches of {batch}, input probe, each example at a depth of its own from the
lowest up, {rounds} rounds.
PyTorch's best: {best}. Heats and agreement (in float32 alone) are those of the lowest {heat_blocks}
blocks.

{table}
"""
