"""Training steps on a BERT classifier and SST: the input and the hidden probe."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from diffmask_jax.data.wordpieces import Encoded
from experiments.common.report import Claim, Timer
from experiments.throughput import bert, data
from experiments.throughput.bert import Field
from experiments.throughput.course import Chunk, Setup, chunks, longest, prepare
from experiments.throughput.data import Contest, Source
from experiments.throughput.pytorch import contenders
from experiments.throughput.race import Section

GAMES = {
    "input": ("input", "settling"),
    "hidden": ("hidden", "settling"),
    "hidden.batch": ("hidden", "authors"),
}
"""A game's name in claims -> its gate and its setting: the authors play one layer per batch."""

EACH = 3
GOALS = {
    "sst.input.vs_authors_style": 8.0,
    "sst.hidden.vs_authors_style": 10.0,
    "sst.input.vs_best_pytorch": 1.25,
    "sst.hidden.vs_best_pytorch": 1.15,
    "sst.input.cached.vs_cached_pytorch": 1.1,
    "sst.hidden.cached.vs_cached_pytorch": 1.1,
    "sst.input.cached.vs_best_pytorch": 1.4,
    "sst.input.vs_lean_pytorch": 1.05,
    "sst.input.cached.vs_lean_pytorch": 1.4,
}
ON_GPU = {"sst.input.bfloat16.vs_best_pytorch": 1.3}


def run(
    contest: Contest, precisions: Sequence[str], rounds: int, timer: Timer, batch: int = 64
) -> Iterator[Section]:
    """All games and contenders; yields the results so far after each. batch: smaller for tests.

    Raises: UserError if the contenders do not compute the same thing.
    """
    setups = {
        name: {
            p: prepare(contest.classifier, gate, p, batch=batch, setting=setting)
            for p in precisions
        }
        for name, (gate, setting) in GAMES.items()
    }
    shared = next(iter(setups.values()))
    first = shared[precisions[0]]
    rates = bert.rates(precisions)
    with timer.part("SST: PyTorch's threads and heats"):
        chunk = next(chunks(first, contest.texts))
        threads = bert.settle_threads(first, chunk)
        fastest = {p: bert.heats(s, p, chunk) for p, s in shared.items()}
    with timer.part("SST: clean states"):
        passes = {p: bert.keep_passes(s, contest.texts) for p, s in shared.items()}
    with timer.part("SST: memory"):
        alone = functools.partial(longest_of, contest.source, batch)
        memory = bert.measure_memory(alone, fastest, threads["threads"])
    goals = GOALS | (ON_GPU if contenders.DEVICE == "cuda" else {})
    claims: list[Claim] = []
    tables: list[str] = []
    raw: dict[str, Any] = {
        "threads": threads,
        "heats": {p: f.heats for p, f in fastest.items()},
        "matrix_flops_per_second": rates,
        "peak_mib": memory,
    }
    for name, by_precision in setups.items():
        field = Field(by_precision, contest.texts, fastest, passes, rates)
        with timer.part(f"SST: race, {name}"):
            finish = bert.run(field, rounds, EACH, f"sst.{name}")
        claims += bert.make_claims(f"sst.{name}", finish, goals)
        table = bert.table(finish, memory if by_precision is shared else {})
        gate, setting = GAMES[name]
        title = f"{gate.capitalize()} probe" + ", one layer per batch" * (setting == "authors")
        tables.append(f"### {title}\n\n{table}")
        raw[name] = bert.raw(finish)
        body = BODY.format(
            named=contest.named,
            batch=batch,
            threads=threads["threads"],
            best="; ".join(f"{p}: {f.told}" for p, f in fastest.items()),
            tables="\n\n".join(tables),
        )
        yield Section("SST", list(claims), body, dict(raw))


def longest_of(
    source: Source, batch: int, precision: str
) -> tuple[Setup, Sequence[Encoded], Chunk]:
    """The input probe's game, its texts, and their longest chunk (`course.Alone`)."""
    contest = data.sst(source)
    setup = prepare(contest.classifier, "input", precision, batch=batch)
    return setup, contest.texts, longest(setup, contest.texts)


BODY = """
{named}, batches of {batch}, bucketed by length as `diffmask train` makes them. All contenders take
turns on the same batches and layers. They play today's default: every depth in every batch, rows
that join one pass where they are masked, a pull on the votes, averaged probes, controlled λ; and
then, for hidden states, the authors' game, one layer per batch. Medians over the rounds, smallest
and largest in brackets. PyTorch's threads: {threads}, the faster of 1 and all cores.

- *Authors' style*: Hugging Face's modules with eager attention, texts padded to 84 word pieces,
  hooks, every batch run twice (once a player), each time a clean and a masked pass of the whole
  model; one layer per batch, and the authors' optimisers.
- *Best*: the fastest of some ways to write it in PyTorch, found by heats ({best}). All have one
  masked pass for both players, no graph in the clean pass, no weight gradients, one matrix for q, k
  and v, `scaled_dot_product_attention`, no vote that nobody needs, and no block for a row below its
  masked state. All but *whole last
  block* compute only the [CLS] row there. *oneDNN's products* writes matrix products as
  convolutions of width one: PyTorch gives these to oneDNN, which knows AVX-512 on any CPU, and
  float32 products to MKL, which does not.
- *Lean*: the same without that trick and without `torch.compile`.
- *Compiling*: seconds before the first step; with `torch.compile`, what its first step took beyond
  the next ones.
- bfloat16 contenders are not compared with each other; the float32 ones are shown to agree first.
- *Cached*: the clean states are looked up, which saves one of three passes. *Of the matrix rate*:
  what the frozen model's passes need (clean, masked, and back to the activations) over what a large
  product reaches. *Memory*: what a process grows by that has loaded both frameworks and then trains
  on the longest batches this way alone: weights, data, programs and activations (on a GPU: what the
  framework's allocator gave out).

{tables}
"""
