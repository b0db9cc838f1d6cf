"""PyTorch's side of the race: the authors' style, and several optimised variants."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from diffmask_jax.data import batches
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.game.objective import Clean
from diffmask_jax.training.clean_states import CleanStates
from experiments.throughput.course import Alone, Chunk, Setup
from experiments.throughput.pytorch import bert, bert_authors, bert_steps
from experiments.throughput.pytorch.bert import Network, by_convolution, run_block
from experiments.throughput.pytorch.bert_gates import GATINGS
from experiments.throughput.pytorch.bert_steps import Batch, Stakes, Way
from experiments.throughput.pytorch.players import (
    Moving,
    logistic,
    optimisers,
    player_weights,
    settling,
)
from experiments.throughput.race import Contender, lap

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TRIES = 3


WHOLE = "whole last block"


def precisions() -> tuple[str, ...]:
    """The precisions worth a race: those that PyTorch has kernels for on this device.

    On a CPU without AVX-512 its products in bfloat16 run at a quarter to a fiftieth of the rate of
    those in float32, so that a race would take hours and say nothing.
    """
    emulated = DEVICE == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return tuple(name for name in TYPES if name == "float32" or not emulated)


def ways(precision: str, reads: int | None = 1) -> dict[str, Way]:
    """The variants, without a compiler, that may be the fastest.

    reads: `Setup.reads`; only if the head reads one row can the last block be cut short
    """
    cut = reads == 1
    by_name = {"lean": Way(linear, run_block, cls=cut)}
    if cut:
        by_name = {WHOLE: Way(linear, run_block, cls=False)} | by_name
    if DEVICE == "cpu" and precision == "float32":
        block = functools.partial(run_block, product=by_convolution)
        by_name["oneDNN's products"] = Way(by_convolution, block, cls=cut)
    return by_name


def compiled(by_name: dict[str, Way]) -> dict[str, Way]:
    """Variants with `torch.compile`, once for all lengths; it compiles when they are first run."""
    return {
        f"{name}, compiled": way._replace(block=torch.compile(way.block, dynamic=True))
        for name, way in by_name.items()
        if name != WHOLE
    }


def settle(threads: int) -> None:
    """Set PyTorch's threads, and raise its limit of compiled versions, which it exceeds silently.

    On a GPU also enable what JAX does there by default: float32 products in TensorFloat-32.
    """
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest" if DEVICE == "cpu" else "high")
    torch._dynamo.config.cache_size_limit = 64


@contextmanager
def whole_float32() -> Iterator[None]:
    """Full float32 products in both frameworks, as on any CPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with jax.default_matmul_precision("highest"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def network(setup: Setup, precision: str) -> Network:
    """The frozen network for `lean`."""
    model = bert.hugging_face(setup.classifier, "sdpa", DEVICE)
    return bert.network(model, setup.sizes, TYPES[precision])


def lean(setup: Setup, frozen: Network, way: Way, passes: CleanStates | None = None) -> Contender:
    """Our batches, layers and players, one masked pass per step. passes: stored clean states."""
    play = bert_steps.start(
        frozen,
        player_weights(setup.probe, jnp.ones(len(setup.game.model.layers))),
        GATINGS[setup.config.gate],
        stakes(setup),
        moving(setup),
        functools.partial(logistic, device=DEVICE),
        way,
    )
    stored = {} if passes is None else {n: shared(c) for n, c in passes.by_length.items()}

    def run(chunk: Chunk) -> None:
        for indices, inputs, layer in _steps(chunk):
            if passes is None:
                batch = bert_steps.clean(play, *inputs)
            else:
                rows = torch.from_numpy(passes.row[indices]).to(DEVICE)
                all_of = stored[chunk.length]
                states = functools.partial(look_up, all_of.states, rows)
                _, segments, valid = inputs
                batch = Batch(segments, valid, all_of.logits[rows], states)
            bert_steps.lean_step(play, batch, layer)
        wait()

    return Contender(run)


def stakes(setup: Setup) -> Stakes:
    """The constants of a setup's objective."""
    return Stakes(setup.game.margin, setup.game.pull)


def moving(setup: Setup) -> Moving:
    """The optimisers of a setup's players."""
    if setup.config.setting == "authors":
        return functools.partial(optimisers, rates=setup.rates)
    return functools.partial(settling, rates=setup.rates, margin=setup.game.margin)


def padded(setup: Setup) -> int:
    """The length that the authors pad all texts to."""
    return min(setup.padded, setup.sizes.positions)


def authors(setup: Setup, texts: Sequence[Encoded]) -> Contender:
    """Hooks, padding and two runs per batch, on each chunk's first batch: all cost the same."""
    model = bert.hugging_face(setup.classifier, "eager", DEVICE)
    play = bert_authors.start(
        model,
        player_weights(setup.probe, jnp.ones(len(setup.game.model.layers))),
        GATINGS[setup.config.gate],
        stakes(setup),
        setup.rates,
        functools.partial(logistic, device=DEVICE),
    )
    inputs = batches.pad(texts, max(padded(setup), *(len(text.ids) for text in texts)))
    tokens, valid = torch.from_numpy(inputs.tokens).long(), torch.from_numpy(inputs.valid)

    def run(chunk: Chunk) -> None:
        rows = chunk.batch.indices[:1].tolist()
        for batch in bert_authors.batches(tokens, valid, rows):
            # The authors draw one layer per batch; where ours has one per example, take turns.
            drawn = chunk.layers[0]
            layer = chunk.number % len(play.players.gates) if drawn.ndim else int(drawn)
            bert_authors.authors_step(play, [part.to(DEVICE) for part in batch], layer)
        wait()

    return Contender(run, steps=1)


def fastest(
    setup: Setup, precision: str, chunk: Chunk, tries: int = TRIES
) -> tuple[str, Way, dict[str, dict[str, Any]]]:
    """The fastest variant on a chunk; the seconds of the heats, or the error of one that failed."""
    heats: dict[str, dict[str, Any]] = {}
    frozen, candidates = network(setup, precision), ways(precision, setup.reads)
    candidates |= compiled(candidates)
    for name, way in candidates.items():
        try:
            contender = lean(setup, frozen, way)
            start = time.perf_counter()
            contender.run(chunk)
            first = time.perf_counter() - start
            seconds = [lap(contender, [chunk]).seconds for _ in range(tries)]
            heats[name] = {"first": first, "seconds": seconds}
        except Exception as error:  # from the compiler, or what it calls
            lines = str(error).strip().splitlines() or [""]
            heats[name] = {"failed": f"{type(error).__name__}: {lines[0][:200]}"}
    times = {name: min(heat["seconds"]) for name, heat in heats.items() if "seconds" in heat}
    name = min(times, key=lambda name: times[name])
    return name, candidates[name], heats


def best_threads(
    setup: Setup, chunk: Chunk, most: int, tries: int = TRIES
) -> tuple[int, dict[int, float]]:
    """1 or all of the cores, whichever is faster on a chunk."""
    frozen, way = network(setup, "float32"), ways("float32", setup.reads)["lean"]
    seconds = {}
    for threads in sorted({1, most}):
        settle(threads)
        contender = lean(setup, frozen, way)
        seconds[threads] = min(lap(contender, [chunk]).seconds for _ in range(tries))
    best = min(seconds, key=lambda threads: seconds[threads])
    settle(best)
    return best, seconds


def lean_alone(build: Alone, precision: str, way: str, threads: int) -> Callable[[], None]:
    """Like `ours_alone`, in one of the `ways`."""
    settle(threads)
    setup, _, chunk = build(precision)
    contender = lean(setup, network(setup, precision), named(way, setup))
    return lambda: contender.run(chunk)


def named(way: str, setup: Setup) -> Way:
    """One of the `ways`, or of the compiled ones, for a setup."""
    plain = ways(setup.config.precision, setup.reads)
    return (plain if way in plain else compiled(plain))[way]


def authors_alone(build: Alone, threads: int) -> Callable[[], None]:
    """Like `ours_alone`, in the authors' style."""
    settle(threads)
    setup, texts, chunk = build("float32")
    contender = authors(setup, texts)
    return lambda: contender.run(chunk)


def look_up(stored: Sequence[Tensor], numbers: Tensor, layer: int, rows: slice) -> Tensor:
    """Some rows of a batch's states, copied on demand. numbers: the batch's rows."""
    return stored[layer][numbers[rows]]


def shared(passes: Clean) -> Any:
    """JAX's clean passes as tensors in the same memory."""

    def tensor(array: Any) -> Tensor:
        return torch.from_dlpack(array.addressable_data(0))

    return jax.tree.map(tensor, passes)


def wait() -> None:
    """Wait until the device is done."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _steps(chunk: Chunk) -> Any:
    """(indices, inputs as tensors, layer) of each step, the rows of the lowest layer first."""
    for step, indices in enumerate(chunk.batch.indices):
        drawn = chunk.layers[step]
        rows = np.argsort(drawn, kind="stable") if drawn.ndim else np.arange(len(indices))
        layer = torch.tensor(drawn[rows]).long().to(DEVICE) if drawn.ndim else int(drawn)
        inputs = [torch.tensor(np.asarray(a[step])[rows]).to(DEVICE) for a in chunk.batch.inputs]
        yield indices[rows], inputs, layer
