"""The SQuAD experiment's report around its claims: how it was made, tables, pictures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from diffmask_jax.analysis.top_tokens import TopShares
from diffmask_jax.runtime import markdown
from experiments.squad.claims import Found
from experiments.squad.gate_claims import ids_of
from experiments.squad.methods import Counted
from experiments.squad.numbers import OfGate
from experiments.squad.pointing import TOP, Figure2

COLUMNS = {
    "masked": ("masked", "{:.1%}"),
    "KL (nats)": ("divergence", "{:.3f}"),
    "positions kept": ("positions_kept", "{:.1%}"),
    "spans kept": ("spans_kept", "{:.1%}"),
}
"""The columns of a table of faithfulness: a field of `Faithful`, and how it is written."""

CERTAINTY = (
    "The upper third of the layers, for the questions in thirds by the probability of the unmasked "
    "model's answer; means with 95% intervals over passages:"
)

LEFT = (
    "What is left, where P(z ≠ 0) > ½, averaged over the runs: shares of the pieces; the median "
    "number of places in a passage, and its rank correlation with the probability of the model's "
    "answer; of the {long} answers of three pieces or more, their ends and what is between; both "
    "ends of a gold answer, of {right} questions answered rightly and {wrong} wrongly (by both "
    "argmaxes):"
)

LEFT_COLUMNS = {
    "all": ("pieces", "{:.1%}"),
    "passage": ("passage", "{:.1%}"),
    "places": ("places", "{:g}"),
    "places, probability": ("with_certainty", "{:.2f}"),
    "question words": ("question_words", "{:.1%}"),
    "other words of the question": ("other_words", "{:.1%}"),
    "[CLS]": ("opening", "{:.1%}"),
    "ends": ("ends", "{:.1%}"),
    "between": ("inside", "{:.1%}"),
    "gold, right": ("gold_when_right", "{:.1%}"),
    "gold, wrong": ("gold_when_wrong", "{:.1%}"),
}
"""The columns of the table of what is left: a field of `Left`, and how it is written."""


class About(NamedTuple):
    """How a report was made.

    questions: sentences about them
    left_out: lines about those that were left out
    runs: one row per run: its name, the step of its probe, and whether it had settled
    not_run: gates without a probe
    counted: the methods of Figure 2
    """

    questions: str
    left_out: Sequence[str]
    runs: Sequence[tuple[str, str, str]]
    not_run: Sequence[str]
    counted: Mapping[str, Counted]


def body(found: Found, about: About) -> str:
    """The report between its title and its claims."""
    parts = [about.questions, *about.left_out]
    parts.append(markdown.table(["run", "steps", "has it settled?"], about.runs))
    parts += [not_run(gate) for gate in about.not_run]
    for gate, numbers in found.by_gate.items():
        parts += [f"### {gate} masking, sampled gates", layer_table(found.layers, numbers)]
        parts += [CERTAINTY, certainty_table(numbers)]
        parts += [f"### {gate}: what is kept", kept_table(found.layers, numbers)]
        parts += [LEFT.format(**numbers.left._asdict()), left_table(found.layers, numbers)]
        parts.append(f"![validation](training_{gate}.png)")
        parts.append(f"![Figure 8, {gate}](figure8_{gate}.png)")
    if found.figure2:
        parts += ["### Figure 2, counted", figure2_table(found.figure2, about.counted)]
        parts += ["![Figure 2](figure2.png)"] * ("input" in found.by_gate)
    if found.by_gate:
        parts += ["![Figure 7](figure7.png)", "![masked and kept](faithful.png)"]
    tagged = [gate for gate, numbers in found.by_gate.items() if numbers.tagged]
    parts += [f"![Figure 14, {gate}](figure14_{gate}.png)" for gate in tagged]
    if found.nouns is None:
        parts.append("Figure 14 needs tags: give --tags FILE.")
    return "\n\n".join(parts)


def not_run(gate: str) -> str:
    """A sentence about the numbers that are missing for want of a probe."""
    ids = [*ids_of(gate).values(), *["squad.fig2.diffmask*"] * (gate == "input")]
    return f"Not run: there is no probe of {gate} masking, and so no number of {', '.join(ids)}."


def layer_table(layers: Sequence[str], numbers: OfGate) -> str:
    """One row per layer: the runs side by side, and the deviation of their keep probabilities."""
    rows = []
    for at, layer in enumerate(layers):
        cells = [
            ", ".join(form.format(getattr(run, field)[at]) for run in numbers.sampled)
            for field, form in COLUMNS.values()
        ]
        apart = [] if numbers.deviations is None else [f"{numbers.deviations[at]:.3f}"]
        rows.append([layer, *cells, *apart])
    apart = [] if numbers.deviations is None else ["keep, deviation over runs"]
    return markdown.table(["layer", *COLUMNS, *apart], rows)


def certainty_table(numbers: OfGate) -> str:
    """One row per third of the questions, the least sure answers first."""
    rows = []
    for part in numbers.by_certainty:
        means = [
            _formatted(form, *map(float, part.means[field])) for field, form in COLUMNS.values()
        ]
        rows.append([f"{part.least:.2f}–{part.most:.2f}", str(part.questions), *means])
    return markdown.table(["probability", "questions", *COLUMNS], rows)


def kept_table(layers: Sequence[str], numbers: OfGate) -> str:
    """Figure 7's curves, and [SEP]."""
    kept = numbers.kept
    curves = (kept.question, kept.passage, kept.gold, kept.gold_when_wrong, numbers.separators.mean)
    rows = [
        [layer, *(_unless_nan("{:.3f}", value) for value in values)]
        for layer, *values in zip(layers, *curves, strict=True)
    ]
    head = ["layer", "question", "passage", "gold", f"gold, wrong ({kept.wrong})", "[SEP]"]
    return markdown.table(head, rows)


def _unless_nan(form: str, value: float) -> str:
    return "–" if np.isnan(value) else form.format(value)


def left_table(layers: Sequence[str], numbers: OfGate) -> str:
    """One row per layer: what is left."""
    rows = []
    for at, layer in enumerate(layers):
        values = [(form, getattr(numbers.left, field)[at]) for field, form in LEFT_COLUMNS.values()]
        rows.append([layer, *(_unless_nan(form, of) for form, of in values)])
    return markdown.table(["layer", *LEFT_COLUMNS], rows)


def figure2_table(found: Figure2, counted: Mapping[str, Counted]) -> str:
    """One row per method, and one for all tokens; means with 95% intervals.

    The last two columns are R-precisions (`TopShares`).
    """
    named = {name: f"{one.title}, {one.told}" for name, one in counted.items()}
    named["diffmask"] = "DiffMask, Σ of P(z ≠ 0) over layers"
    rows = [[named[name], *map(_cell, *shares)] for name, shares in found.shares.items()]
    rows.append(["all tokens", *map(_cell, *found.chance)])
    head = [name.replace("_precision", ", of as many as it has") for name in TopShares._fields]
    return markdown.table([f"{TOP} top tokens", *head], rows)


def _cell(mean: float, low: float, high: float) -> str:
    return _formatted("{:.3f}", mean, low, high)


def _formatted(form: str, mean: float, low: float, high: float) -> str:
    """A mean with its interval, if it has one."""
    interval = f" ({form.format(low)}–{form.format(high)})" * bool(np.isfinite(low))
    return form.format(mean) + interval
