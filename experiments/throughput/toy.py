"""DiffMask steps per second on the toy task: ours beside two eager PyTorch loops of the same step.

Both sides are first shown to compute the same thing; then they are timed in turn.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array, Key

from diffmask_jax.errors import UserError
from diffmask_jax.game import players
from diffmask_jax.game.objective import Clean
from diffmask_jax.game.steps import TrainState
from diffmask_jax.models import toy
from diffmask_jax.runtime import markdown
from experiments.common.report import Claim, Timer
from experiments.throughput.pytorch import toy_check, toy_steps
from experiments.throughput.pytorch.players import player_weights
from experiments.throughput.pytorch.toy import model_weights
from experiments.throughput.race import Section, ratio_claim, rotated
from experiments.toy import setup
from experiments.toy.setup import BATCH, TRAINING, Style

EMBEDDING, HIDDEN = 0, 1
STATES = {HIDDEN: "hidden state", EMBEDDING: "embedding"}
RATES = players.AUTHORS._replace(warmup=200)
STYLE = Style(players.authors(RATES), pull=0.0)
SEEDS, EPOCH = 5, TRAINING // BATCH
SECONDS, SETTLING = 0.3, 0.1
OURS, OURS_SEEDS = "ours, one seed", f"ours, {SEEDS} seeds at once"
AUTHORS, LEAN = "PyTorch, authors' style", "PyTorch, lean"
LIMIT, READ = "products alone, whole batches", "products alone, without padding"
GOAL, SHARE = 50, 0.6

Speeds = dict[str, list[float]]
"""Contender -> steps per second, one number per round."""


class Contender(NamedTuple):
    """One way of training: `run` takes `steps` steps; PyTorch's number of threads, None for JAX."""

    run: Callable[[], object]
    steps: int
    threads: int | None = None


class Task(NamedTuple):
    """Frozen models with random weights, and their clean passes, with all seeds along axis 0."""

    keys: Key[Array, " S"]
    params: Any
    data: Clean


def make_task(seeds: int) -> Task:
    """The task, with random models, since speed does not depend on what they have learned."""
    keys = setup.seed_keys(list(range(seeds)))
    data, _ = setup.make_data(list(range(seeds)))
    params = jax.jit(jax.vmap(toy.init))(keys)
    return Task(keys, params, setup.clean(params, data))


def start(task: Task, layer: int) -> TrainState:
    """Fresh probes of every seed, as the toy experiment starts them."""
    return setup.start(task.keys, task.data, layer=layer, style=STYLE)


def ours(task: Task, layer: int) -> Contender:
    """Epochs of the toy experiment, one compiled call each."""
    state, data = start(task, layer), (task.keys, task.params, task.data)
    reading = setup.reading_in_batches(task.data.inputs.valid)
    how = {"layer": layer, "style": STYLE, "reading": reading}
    compiled = setup.epoch.lower(state, *data, 0, **how).compile()
    numbers = itertools.count()

    def run() -> None:
        nonlocal state
        state, diagnostics = compiled(state, *data, next(numbers))
        jax.block_until_ready(diagnostics)

    return Contender(run, EPOCH * len(task.keys))


def products(layer: int, reading: Sequence[int]) -> Contender:
    """Only the matrix products of a step on one seed, forwards and backwards.

    reading: how many rows of the batch are read at each position
    """
    positions, width = len(reading), toy.WIDTH
    shapes = {"wide": (width, 3 * width), "narrow": (3 * width, width), "square": (width, width)}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    kernels = {
        name: jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }

    def step(state: Array, _: None) -> tuple[Array, None]:
        h = state
        if layer == EMBEDDING:  # the feed-forward layer that reads the digits
            h = h @ kernels["square"] @ kernels["square"].T
        h = h[:BATCH]
        for rows in reading:
            h = h[:rows] @ kernels["wide"] @ kernels["narrow"]
        return state + jnp.mean(h), None

    states = jnp.ones((BATCH * positions, width))
    compiled = jax.jit(lambda h: jax.lax.scan(step, h, length=EPOCH)[0]).lower(states).compile()
    return Contender(lambda: jax.block_until_ready(compiled(states)), EPOCH)


def theirs(task: Task, layer: int, threads: int) -> dict[str, Contender]:
    """Both PyTorch loops, on the first seed."""
    state = start(task, layer)
    params, inputs, probe, multipliers = jax.tree.map(
        lambda a: a[0],
        (task.params, task.data.inputs, state.probe.fast, state.multipliers.fast),
    )
    weights = model_weights(params), player_weights(probe, multipliers)
    authors = toy_steps.start(*weights, layer, RATES)
    lean = toy_steps.start(*weights, layer, RATES)
    full = toy_steps.authors_batches(inputs)
    ready = toy_steps.lean_batches(toy_steps.lean_data(lean, inputs))
    return {
        f"{AUTHORS}, threads: {threads}": Contender(
            lambda: toy_steps.authors_step(authors, next(full)), 1, threads
        ),
        f"{LEAN}, threads: {threads}": Contender(
            lambda: toy_steps.lean_step(lean, next(ready)), 1, threads
        ),
    }


def steps_per_second(contender: Contender, seconds: float) -> float:
    """Steps per second, over as many runs as fill the time."""
    if contender.threads:
        torch.set_num_threads(contender.threads)
    start, runs, passed = time.perf_counter(), 0, 0.0
    while passed < seconds:
        contender.run()
        runs += 1
        passed = time.perf_counter() - start
    return runs * contender.steps / passed


def race(contenders: dict[str, Contender], rounds: int) -> Speeds:
    """Steps per second in every round; contenders take turns, each after some untimed runs."""
    speeds: Speeds = {name: [] for name in contenders}
    for number in range(rounds):
        for name in rotated([*contenders], number):
            steps_per_second(contenders[name], SETTLING)
            speeds[name].append(steps_per_second(contenders[name], SECONDS))
    return speeds


def best(speeds: Speeds, loop: str) -> list[float]:
    """The rounds of a PyTorch loop with its best number of threads."""
    settings = [rounds for name, rounds in speeds.items() if name.startswith(loop)]
    return max(settings, key=np.median)


def ratios(speeds: Speeds, mine: str, loop: str) -> list[float]:
    """How many times as fast ours is, round by round."""
    return [a / b for a, b in zip(speeds[mine], best(speeds, loop), strict=True)]


def make_claims(speeds: dict[int, Speeds]) -> list[Claim]:
    """Three claims for each masked state, comparing one seed with one seed."""
    found = []
    for layer, name in STATES.items():
        prefix = "toy" if layer == HIDDEN else f"toy.{name}"
        authors, lean = (ratios(speeds[layer], OURS, loop) for loop in (AUTHORS, LEAN))
        says = f"{name}: at least {GOAL} times the steps of the authors-style loop"
        found.append(ratio_claim(f"{prefix}.vs_authors_style", says, authors, GOAL))
        says = f"{name}: at least as many steps as the lean PyTorch loop"
        found.append(ratio_claim(f"{prefix}.vs_lean_pytorch", says, lean, 1))
        share = ratios(speeds[layer], OURS, LIMIT)
        says = f"{name}: share of the steps that the products of whole batches alone allow"
        found.append(ratio_claim(f"{prefix}.of_limit", says, share, SHARE))
    return found


def table(speeds: dict[int, Speeds]) -> str:
    """Median (smallest–largest) over the rounds, in Markdown."""

    def row(name: str, cells: Iterable[list[float]], digits: int) -> list[str]:
        texts = (
            f"{np.median(c):.{digits}f} ({min(c):.{digits}f}–{max(c):.{digits}f})" for c in cells
        )
        return [name, *texts]

    contenders = next(iter(speeds.values()))
    rows = [row(name, (s[name] for s in speeds.values()), 0) for name in contenders]
    for mine, loop in itertools.product((OURS, OURS_SEEDS), (AUTHORS, LEAN)):
        cells = (ratios(s, mine, loop) for s in speeds.values())
        rows.append(row(f"times: {mine} / {loop}", cells, 1))
    return markdown.table(("steps per second", *(STATES[layer] for layer in speeds)), rows)


def check(timer: Timer) -> dict[str, dict[str, float]]:
    """Check that both sides compute the same thing, and end the program otherwise."""
    case, found = toy_check.example(), {}
    with timer.part("toy: compare loss, gradients and steps"):
        for layer, name in STATES.items():
            found[name] = toy_check.largest_differences(case, layer)
            for what, difference in found[name].items():
                print(f"  {name}: {what:<28} largest relative difference {difference:.1e}")
            if not toy_check.agree(found[name]):
                raise UserError(
                    f"at the {name} our step and PyTorch's differ, so their speeds cannot be "
                    "compared: see the differences above"
                )
    return found


def run(rounds: int, timer: Timer) -> Section:
    """The whole comparison."""
    default = torch.get_num_threads()
    differences = check(timer)
    speeds: dict[int, Speeds] = {}
    one, several = make_task(1), make_task(SEEDS)
    for layer, name in STATES.items():
        contenders = {}
        with timer.part(f"toy: compile {OURS}, {name}"):
            contenders[OURS] = ours(one, layer)
        with timer.part(f"toy: compile {OURS_SEEDS}, {name}"):
            contenders[OURS_SEEDS] = ours(several, layer)
        reading = setup.reading_in_batches(one.data.inputs.valid)
        with timer.part(f"toy: compile products alone, {name}"):
            contenders[LIMIT] = products(layer, [BATCH] * len(reading))
            contenders[READ] = products(layer, reading)
        for threads in sorted({1, default}):
            contenders |= theirs(one, layer, threads)
        with timer.part(f"toy: race, {name}"):
            speeds[layer] = race(contenders, rounds)
    torch.set_num_threads(default)
    body = BODY.format(
        table=table(speeds),
        rounds=rounds,
        seconds=SECONDS,
        torch=torch.__version__,
        default=default,
    )
    raw = {
        "largest_relative_differences": differences,
        "steps_per_second": {STATES[layer]: s for layer, s in speeds.items()},
    }
    return Section("Toy task", make_claims(speeds), body, raw)


BODY = """
Training steps per second of DiffMask on one state of the toy model, batches of 128; median of
{rounds} rounds of {seconds} s in which all take turns, smallest and largest in brackets. Five seeds
at once count as five steps. Ratios are taken round by round, with PyTorch {torch} at the number of
threads, 1 or its default of {default}, that suits the loop best.

{table}

- *Authors' style*: eager modules, a DataLoader, every batch run twice (once a player), each time
  with a clean pass and a masked pass of the whole model. Their framework and logging are left out.
- *Lean*: eager PyTorch with clean states known beforehand, one masked pass for both players, and no
  gradients of the frozen weights; sequences are packed, so that padding is not computed. Ours are
  dealt out longest first, to the same end.
- *Products alone*: the recurrence of one seed, forwards and backwards, as bare products one
  after another (and the feed-forward layer, at the embedding), of batches as if all were 10 long,
  or without what is padding. They bound what a step can reach.
- Before the race, all three are shown to have the same loss, divergence and gradients, and our
  steps to move the weights as the lean ones do, at the same weights, batch and noise.
"""
