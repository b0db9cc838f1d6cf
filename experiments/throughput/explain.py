"""Explaining 1000 sentences at all layers: one pass of a probe against integrated gradients.

Integrated gradients of a thousand sentences would take an hour on two cores. Each round times them
on a few sentences of every padded length, weighted by how often it occurs in the thousand; the
probe explains all of them.
"""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array

from diffmask_jax.attribution import methods
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import at_every_layer
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import PackedInputs, TextInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.answering import in_few_shapes
from diffmask_jax.game.objective import clean_pass, keep_probabilities
from diffmask_jax.runtime import devices, markdown
from diffmask_jax.runtime.plain_lines import followed
from experiments.common.report import Claim, Timer, claim
from experiments.throughput import bert
from experiments.throughput.course import Setup, chunks, prepare
from experiments.throughput.data import Contest
from experiments.throughput.flops import block_flops, matrix_rate
from experiments.throughput.pytorch import contenders as throughput_torch
from experiments.throughput.pytorch.bert_explain import integrated_gradients
from experiments.throughput.pytorch.bert_steps import Way
from experiments.throughput.race import Section, ratio_claim, spread

SENTENCES, SAMPLE, STEPS, BATCH = 1000, 2, 50, 32
ROUNDS = 2
GOAL, MOST, LIMIT = 100.0, 1.6, 1e-3
PROBE, OURS, TORCH = "DiffMask, ours", "integrated gradients, ours", "integrated gradients, PyTorch"

Method = Callable[[Any], Any]
Weighed = tuple[float, TextInputs]
"""The weight of a batch's seconds, and the batch."""

Seconds = dict[str, list[float]]
"""Method -> seconds a sentence, one number per round."""


def run(contest: Contest, rounds: int, timer: Timer, steps: int = STEPS) -> Section:
    """The comparison, in float32 on both sides. steps: fewer for tests.

    Raises: UserError if the integrated gradients of the two frameworks differ.
    """
    setup = prepare(contest.classifier, "input")
    texts, rounds = contest.texts[:SENTENCES], min(rounds, ROUNDS)
    with timer.part("explain: PyTorch's threads and heats"):
        chunk = next(chunks(setup, contest.texts))
        threads = bert.settle_threads(setup, chunk)
        fastest = bert.heats(setup, "float32", chunk)
    methods_by_name = contenders(setup, fastest.way, steps)
    limit = setup.sizes.positions
    packs = setup.game.model.packs
    whole = list(in_few_shapes(texts, BATCH, limit, devices.data_mesh(), packs))
    samples = [sample(texts, limit, number) for number in range(rounds)]
    with timer.part("explain: compile, and compare"), throughput_torch.whole_float32():
        difference = max(check(methods_by_name, inputs) for _, inputs in samples[0])
        for batch in whole:
            methods_by_name[PROBE](batch.inputs)
    seconds: Seconds = {name: [] for name in methods_by_name}
    work = [(1 / len(texts), batch.inputs) for batch in whole]
    turns = [
        (name, work if name == PROBE else part) for part in samples for name in methods_by_name
    ]
    with timer.part("explain: race"), throughput_torch.whole_float32():
        for name, given in followed(turns, "explain", "turns"):
            seconds[name].append(time_of(methods_by_name[name], given))
    rate = matrix_rate("float32")
    flops = sum(weight * needed(setup, inputs) for weight, inputs in work)
    products = 1000 * flops / rate
    body = BODY.format(
        named=contest.named,
        layers=len(setup.game.model.layers),
        sentences=len(texts),
        sample=SAMPLE,
        steps=steps,
        best=fastest.told,
        threads=threads["threads"],
        products=products,
        rate=rate / 1e9,
        table=table(seconds),
    )
    raw = {
        "seconds_a_sentence": seconds,
        "flops_a_sentence": flops,
        "matrix_flops_per_second": rate,
        "largest_relative_difference": difference,
        "heats": fastest.heats,
        "threads": threads,
    }
    return Section("Explaining", make_claims(seconds, products), body, raw)


def sample(texts: Sequence[Encoded], limit: int, number: int) -> list[Weighed]:
    """A few texts of every padded length, different in every round; the weights sum to one text."""
    groups: dict[int, list[Encoded]] = {}
    for text in texts:
        groups.setdefault(batches.padded_length(len(text.ids), limit), []).append(text)
    weighed = []
    for length, group in sorted(groups.items()):
        chosen = [group[(number * SAMPLE + i) % len(group)] for i in range(SAMPLE)]
        weighed.append((len(group) / len(texts) / SAMPLE, batches.pad(chosen, length)))
    return weighed


def contenders(setup: Setup, way: Way, steps: int) -> dict[str, Method]:
    """The contenders, each of which explains a batch at all layers."""
    params, layers = setup.classifier.params, len(setup.game.model.layers)
    explain = jax.jit(functools.partial(keep_probabilities, setup.game))
    integrate = jax.jit(functools.partial(_integrate, setup, steps))
    network = throughput_torch.network(setup, "float32")

    def in_torch(inputs: TextInputs) -> Any:
        tokens, segments, valid = (torch.tensor(a).to(throughput_torch.DEVICE) for a in inputs)
        attributions = [
            integrated_gradients(network, tokens, segments, valid, layer, steps, way)
            for layer in range(layers)
        ]
        return torch.stack(attributions).cpu().numpy()

    return {
        PROBE: lambda inputs: jax.device_get(explain(params, setup.probe, inputs)[1]),
        OURS: lambda inputs: jax.device_get(integrate(params, inputs)),
        TORCH: in_torch,
    }


def check(methods_by_name: dict[str, Method], inputs: TextInputs) -> float:
    """The largest relative difference of the two frameworks' integrated gradients.

    Raises: UserError if it is above the limit.
    """
    ours, theirs = (methods_by_name[name](inputs) for name in (OURS, TORCH))
    difference = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    if not difference <= LIMIT:
        raise UserError(
            f"our integrated gradients and PyTorch's differ by {difference:.1e}, so their speeds "
            "cannot be compared"
        )
    return difference


def needed(setup: Setup, inputs: TextInputs | PackedInputs) -> float:
    """Floating-point operations of explaining a batch: a clean pass, and every gate network's.

    Matrix products alone, as in `flops`; padding counts as tokens.
    """
    rows, length = inputs.valid.shape
    leaves = jax.tree_util.tree_leaves_with_path(setup.probe)
    kernels = sum(leaf.size for path, leaf in leaves if path[-1] == jax.tree_util.DictKey("kernel"))
    blocks = setup.sizes.blocks * block_flops(setup.sizes, rows, length).forward
    return blocks + 2 * rows * length * kernels


def time_of(method: Method, work: Sequence[tuple[float, Any]]) -> float:
    """The weighted seconds of one sentence."""
    total = 0.0
    for weight, inputs in work:
        start = time.perf_counter()
        method(inputs)
        total += weight * (time.perf_counter() - start)
    return total


def table(seconds: Seconds) -> str:
    """One row per method, in Markdown: medians over the rounds, and the extremes in brackets."""
    head = ("", "ms a sentence", "1000 sentences", "times the probe's")
    rows = []
    for name, values in seconds.items():
        ratios = [value / own for value, own in zip(values, seconds[PROBE], strict=True)]
        thousand = f"{1000 * statistics.median(values):,.1f} s"
        rows.append([name, spread([1000 * value for value in values]), thousand, spread(ratios)])
    return markdown.table(head, rows)


def make_claims(seconds: Seconds, products: float) -> list[Claim]:
    """The claims on the probe's time. products: ms a sentence that its matrix products need."""
    own = [1000 * value for value in seconds[PROBE]]
    return [
        ratio_claim(
            "explain.vs_integrated_gradients",
            f"explaining at all layers: at least {GOAL:g} times as fast as the faster of the two "
            "integrated gradients",
            [min(a, b) / ours for ours, a, b in zip(*seconds.values(), strict=True)],
            GOAL,
        ),
        claim(
            "explain.ms_a_text",
            f"explaining a text at all layers: at most {MOST} ms",
            own,
            paper=None,
            unit="ms",
            holds=statistics.mean(own) <= MOST,
            why=f"products alone take {products:.3g} ms at this device's matrix rate",
        ),
    ]


def _integrate(setup: Setup, steps: int, params: Any, inputs: Any) -> Array:
    layers, width = len(setup.game.model.layers), setup.sizes.width
    unused = Statistics(jnp.zeros((layers, width)), jnp.ones((layers, width)))
    return at_every_layer(
        functools.partial(methods.integrated, steps=steps),
        setup.game.model,
        params,
        unused,
        jax.random.key(0),
        clean_pass(setup.game.model, params, inputs),
    )


BODY = """
{named}: the attributions of {sentences} sentences to all {layers} states. DiffMask is one clean
pass and the probe, in batches as `Explainer` makes them. Integrated gradients take {steps} steps a
state, in this package and in PyTorch ({best}, {threads} threads; points of the path share batches),
which agree. They are timed on {sample} sentences of every padded length a round, weighed as the
{sentences} have them; their time for 1000 sentences is calculated. DiffMask's matrix products alone
would take {products:.3g} ms a sentence at this device's rate of {rate:,.0f} GFLOP/s.

{table}
"""
