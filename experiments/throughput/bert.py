"""One race on BERT: heats find PyTorch's fastest way, all are shown to agree, then they race."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import torch
from tqdm import tqdm

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.runtime import markdown
from diffmask_jax.training import clean_states
from diffmask_jax.training.clean_states import CleanStates
from experiments.common.report import Claim, claim
from experiments.throughput.course import Alone, Chunk, Setup, chunks, deal, first_step
from experiments.throughput.flops import matrix_rate, needed_flops
from experiments.throughput.memory import peak_mib
from experiments.throughput.ours import ours, ours_alone
from experiments.throughput.pytorch import bert_check
from experiments.throughput.pytorch import contenders as throughput_torch
from experiments.throughput.pytorch.bert_steps import Way
from experiments.throughput.race import Contender, Laps, race, ratio_claim, ratios, spread

OURS, AUTHORS, BEST, USUAL = "ours", "PyTorch, authors' style", "PyTorch, best", "PyTorch, lean"
CACHED = ", cached"
LEAST_SHARE = 0.45
PAIRS = [
    ("", AUTHORS, "vs_authors_style"),
    ("", BEST + "{}", "vs_best_pytorch"),
    ("", USUAL + "{}", "vs_lean_pytorch"),
    (CACHED, BEST + "{}", "vs_best_pytorch"),
    (CACHED, USUAL + "{}", "vs_lean_pytorch"),
    (CACHED, BEST + "{}" + CACHED, "vs_cached_pytorch"),
]
"""Additions to our name, to PyTorch's ({}: the precision, if not float32), and to the claim's."""


class Fastest(NamedTuple):
    """PyTorch's fastest way in one precision, and the heats that found it."""

    name: str
    way: Way
    heats: dict[str, Any]

    @property
    def told(self) -> str:
        """Its name, and those of the others."""
        run = [name for name, heat in self.heats.items() if "seconds" in heat]
        return f"{self.name}, the best of {len(run)} ways: {'; '.join(run)}"

    @property
    def compiling(self) -> float:
        """Seconds that the first run took longer than the next ones, 0 if nothing is compiled."""
        heat = self.heats[self.name]
        return heat["first"] - min(heat["seconds"]) if self.name.endswith("compiled") else 0.0


class Field(NamedTuple):
    """A race's setup in every precision, and what its games share.

    fastest, rates: by precision
    passes: the clean states by precision, if they are kept
    """

    setups: dict[str, Setup]
    texts: Sequence[Encoded]
    fastest: dict[str, Fastest]
    passes: dict[str, CleanStates]
    rates: dict[str, float]


class Finish(NamedTuple):
    """The results of a race: the laps, and a row of numbers for each contender."""

    laps: Laps
    differences: dict[str, float]
    compiling: dict[str, float]
    share: dict[str, float]


def settle_threads(setup: Setup, chunk: Chunk, tries: int = 3) -> dict[str, Any]:
    """Set PyTorch's number of threads to the best for a chunk's first step; returns the times."""
    chunk = first_step(chunk)
    most = os.cpu_count() or 1
    if throughput_torch.DEVICE != "cpu":
        throughput_torch.settle(torch.get_num_threads())
        return {"threads": torch.get_num_threads(), "seconds": {}}
    threads, seconds = throughput_torch.best_threads(setup, chunk, most, tries)
    return {"threads": threads, "seconds": seconds}


def heats(setup: Setup, precision: str, chunk: Chunk, tries: int = 3) -> Fastest:
    """PyTorch's fastest way to take the first step of a chunk."""
    return Fastest(*throughput_torch.fastest(setup, precision, first_step(chunk), tries))


def keep_passes(setup: Setup, texts: Sequence[Encoded]) -> CleanStates:
    """The clean states of all texts, for both frameworks."""
    return clean_states.compute(
        setup.game.model, setup.classifier.params, texts, setup.sizes.positions
    )


def enter(field: Field, examples: list[Chunk]) -> dict[str, Contender]:
    """All contenders of a race, with ours compiled; PyTorch's are in the same order."""
    entered: dict[str, Contender] = {}
    for precision, setup in field.setups.items():
        suffix = "" if precision == "float32" else f", {precision}"
        entered[OURS + suffix] = ours(setup, examples)
        network = throughput_torch.network(setup, precision)
        fastest = field.fastest[precision]
        best = throughput_torch.lean(setup, network, fastest.way)
        entered[BEST + suffix] = best._replace(compiling=fastest.compiling)
        usual = throughput_torch.ways(precision, setup.reads)["lean"]
        if fastest.name != "lean":
            entered[USUAL + suffix] = throughput_torch.lean(setup, network, usual)
        if precision in field.passes:
            passes = field.passes[precision]
            entered[OURS + suffix + CACHED] = ours(setup, examples, passes)
            best = throughput_torch.lean(setup, network, fastest.way, passes)
            entered[BEST + suffix + CACHED] = best._replace(compiling=fastest.compiling)
        if precision == "float32":
            entered[AUTHORS] = throughput_torch.authors(setup, field.texts)
    return entered


def measure_memory(
    build: Alone, fastest: Mapping[str, Fastest], threads: int
) -> dict[str, float | None]:
    """The peak memory of training in MiB, by contender. threads: of PyTorch"""
    peaks = {}
    for precision, best in fastest.items():
        suffix = "" if precision == "float32" else f", {precision}"
        peaks[OURS + suffix] = peak_mib(ours_alone, build, precision)
        lean = throughput_torch.lean_alone, build, precision, best.name, threads
        peaks[BEST + suffix] = peak_mib(*lean)
        if precision == "float32":
            peaks[AUTHORS] = peak_mib(throughput_torch.authors_alone, build, threads)
    return peaks


def run(field: Field, rounds: int, each: int, name: str, compared: Setup | None = None) -> Finish:
    """Check agreement in float32, then race, on chunks of training's own stream.

    compared: a smaller setup to check instead, if that of the race takes too long

    Raises: UserError if the contenders do not compute the same thing.
    """
    setup = next(iter(field.setups.values()))
    dealt = deal(chunks(setup, field.texts), rounds, each)
    flat = [chunk for work in dealt for chunk in work]
    differences = {}
    if "float32" in field.setups:
        compared = compared or field.setups["float32"]
        chunk = next(chunks(compared, field.texts))
        best = field.fastest["float32"]
        lean = throughput_torch.ways("float32", compared.reads)["lean"]
        ways = {"lean": lean, best.name: best.way}
        differences = bert_check.check(compared, chunk, ways)
        worst = max(differences.values())
        tqdm.write(f"{name}: losses and gradients agree to {worst:.0e} of their largest entries")
    contenders = enter(field, flat)
    laps = race(contenders, dealt, name)
    compiling = {name: contender.compiling for name, contender in contenders.items()}
    share = {}
    for contender, laps_of in laps.items():
        precision = "bfloat16" if "bfloat16" in contender else "float32"
        steps, cached = contenders[contender].steps, contender.endswith(CACHED)
        flops = needed_flops(setup, flat, steps, cached)
        seconds = sum(lap.seconds for lap in laps_of)
        share[contender] = flops / seconds / field.rates[precision]
    return Finish(laps, differences, compiling, share)


def table(finish: Finish, memory: dict[str, float | None]) -> str:
    """One row per contender, in Markdown: medians over the rounds, and the extremes in brackets."""
    head = ("", "examples/s", "tokens/s", "of the matrix rate", "compiling", "memory")
    rows = []
    for name, laps in finish.laps.items():
        peak = memory.get(name)
        cells = [
            name,
            spread([lap.speed for lap in laps]),
            f"{sorted(lap.tokens / lap.seconds for lap in laps)[len(laps) // 2]:,.0f}",
            f"{finish.share[name]:.0%}",
            f"{finish.compiling[name]:.0f} s" if finish.compiling[name] else "–",
            "–" if peak is None else f"{peak:,.0f} MiB",
        ]
        rows.append(cells)
    return markdown.table(head, rows)


def make_claims(prefix: str, finish: Finish, goals: Mapping[str, float]) -> list[Claim]:
    """Claims on ours against each of PyTorch's in the same precision; the authors' is float32 only.

    Ours with cached states, which has one pass less than PyTorch, is also compared with PyTorch
    with cached states. goals: the least ratio by the name of the claim, by default 1.
    """
    claims = []
    for suffix in ("", ", bfloat16"):
        for mine, theirs, name in PAIRS:
            pair = OURS + suffix + mine, theirs.format(suffix)
            if not {*pair} <= {*finish.laps} or (suffix and theirs == AUTHORS):
                continue
            where = ".".join([prefix, *(suffix + mine).split(", ")[1:], name])
            goal = goals.get(where, 1.0)
            says = f"{pair[0]}: at least {goal:g} times the examples per second of {pair[1]}"
            claims.append(ratio_claim(where, says, ratios(finish.laps, *pair), goal))
    if jax.default_backend() != "cpu" and (mine := f"{OURS}, bfloat16") in finish.share:
        says = f"at least {LEAST_SHARE:.0%} of the card's measured matrix rate in bfloat16"
        share = finish.share[mine]
        name, holds = f"{prefix}.bfloat16.matrix_rate", share >= LEAST_SHARE
        claims.append(claim(name, says, [share], paper=None, unit="", holds=holds))
    return claims


def raw(finish: Finish) -> dict[str, Any]:
    """The numbers of every round."""
    return {
        "largest_relative_differences": finish.differences,
        "rounds": {name: [lap._asdict() for lap in laps] for name, laps in finish.laps.items()},
        "share_of_the_matrix_rate": finish.share,
        "compile_seconds": finish.compiling,
    }


def rates(precisions: Sequence[str]) -> dict[str, float]:
    """The measured matrix rate in each precision, FLOP/s."""
    return {precision: matrix_rate(precision) for precision in precisions}
