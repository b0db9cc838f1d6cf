"""Is a probe good? A verdict in words, from its effect on some texts and from its training."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffmask_jax.models import problem_types
from diffmask_jax.render.layer_names import listed, some_of
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.settled import IDLE, MOVED_MASKED, MOVED_MULTIPLIER, OFF_MARGIN

NEXT_TO_NOTHING = 0.05  # share of positions: a probe that masks less says little
NEXT_TO_ALL = 0.98  # share of positions: the model gives the same answer whatever it reads

SAMPLED, THRESHOLDED = "gates drawn as in training", "gates at ½"
"""How the gates of a verdict were made, since two verdicts on one probe may differ by it."""


class Finding(NamedTuple):
    """The result of one check: whether it passed (None: unknown), and words for people."""

    holds: bool | None
    says: str


class LayerMeans(NamedTuple):
    """The effect of a probe's gates at each layer, averaged over some texts.

    masked: share of positions dropped
    divergence: D, nats
    agreement: share of predictions that stay the same

    Gates are sampled in a run's validation, and thresholded at ½ elsewhere.
    """

    layers: tuple[str, ...]
    masked: Float[np.ndarray, " L"]
    divergence: Float[np.ndarray, " L"]
    agreement: Float[np.ndarray, " L"]


def layer_means(layers: Sequence[str], rows: Sequence[Mapping[str, float]]) -> LayerMeans:
    """The means in a table of one row per layer: `faithfulness.table` without its last row."""
    columns = (np.array([row[name] for row in rows]) for name in LayerMeans._fields[1:])
    return LayerMeans(tuple(layers), *columns)


class LastValidation(NamedTuple):
    """What the last validation found of the game at each layer; by default, before the first one.

    step: that of the validation
    settled: whether every layer had settled (`settled.verdict_on`)
    layers: for each layer its name, masked share, divergence (nats), multiplier, and whether it was
        still and on its margin; none in a run of the authors' game
    """

    step: int = 0
    settled: bool = False
    layers: Sequence[dict[str, Any]] = ()

    @property
    def unsettled(self) -> list[str]:
        """The names of the layers that were moving, or off their margin."""
        return [row["layer"] for row in self.layers if not (row["still"] and row["on_margin"])]


class Assessment(NamedTuple):
    """A verdict on a probe.

    answer: "good"; "not settled" if every layer keeps its promise (`assess`), but training has not
        settled or that is unknown; "not good" if a layer breaks its promise
    findings: the checks it is based on
    advice: what to try next, in sentences
    """

    answer: str
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]


def told(assessment: Assessment, gates: str) -> list[str]:
    """The verdict in at most six lines. gates: `SAMPLED` or `THRESHOLDED`."""
    marks = {True: "+", False: "-", None: "?"}
    lines = [f"the probe is {assessment.answer} ({gates})"]
    lines += [f"  {marks[finding.holds]} {finding.says}" for finding in assessment.findings]
    return lines + [f"  next: {'; or '.join(assessment.advice)}"] * bool(assessment.advice)


def sentences(assessment: Assessment) -> str:
    """The findings and the advice as running text, failed checks first."""
    parts = []
    kinds = {False: "Failed", None: "Unknown", True: "Passed"}
    for holds, name in kinds.items():
        says = [finding.says for finding in assessment.findings if finding.holds is holds]
        parts += [f"{name}: {'; '.join(says)}"] * bool(says)
    parts += [f"Next: {'; or '.join(assessment.advice)}"] * bool(assessment.advice)
    return ". ".join(parts) + "."


def as_json(assessment: Assessment) -> dict[str, Any]:
    """The verdict as JSON types."""
    return {
        "answer": assessment.answer,
        "findings": [finding._asdict() for finding in assessment.findings],
        "advice": list(assessment.advice),
    }


def from_json(told: dict[str, Any]) -> Assessment:
    """The inverse of `as_json`. Raises: KeyError or TypeError if it is anything else."""
    findings = tuple(Finding(**finding) for finding in told["findings"])
    return Assessment(told["answer"], findings, tuple(told["advice"]))


def assess(config: RunConfig, means: LayerMeans, last: LastValidation) -> Assessment:
    """Judge a run's probe by the effect of its gates on some texts, and by how its training ended.

    A layer keeps its promise if D ≤ 1.2·m (`tolerance`; the authors keep a probe up to 8·m, 0.8
    nats on SST) and at least 75% (`min_agreement`) of the predictions stay.

    last: that of its training (`run_folder.load_last_validation`)
    """
    layers, masked, divergence, agreement = means
    on_margin = divergence <= config.tolerance * config.margin
    agrees = agreement >= config.min_agreement
    idle, starved = masked.max() < NEXT_TO_NOTHING, masked.min() > NEXT_TO_ALL
    ended = last.step >= config.steps
    when = "when training ended" if ended else f"at step {last.step} of {config.steps}"
    findings = (
        _margin(config, layers, divergence, on_margin),
        _agreement(config, layers, agreement, agrees),
        _masked(masked, bool(idle), bool(starved)),
        _settled(config, last.layers, when),
    )
    broken = any(finding.holds is False for finding in findings[:3])
    answer = "not good" if broken else "good" if findings[3].holds else "not settled"
    keeps_promise = bool(on_margin.all() and agrees.all())
    advice = _advice(config, bool(last.unsettled), ended, keeps_promise, bool(idle), bool(starved))
    return Assessment(answer, findings, advice)


def _advice(
    config: RunConfig,
    unsettled: bool,
    ended: bool,
    keeps_promise: bool,
    idle: bool,
    starved: bool,
) -> tuple[str, ...]:
    margin, advice = config.margin, []
    if unsettled and not ended:
        advice.append(
            f"train on: the same training command continues it, at most to step {config.steps}"
        )
    elif unsettled:
        advice.append(
            "train longer: run the training command again with --steps larger than "
            f"{config.steps}, and it continues from where it ended"
        )
    elif not keeps_promise:
        advice.append(
            f"allow less divergence: train a probe with --margin {margin / 2:g}; and check that "
            "the texts it was measured on are like those it was trained on"
        )
    if idle:
        advice.append(f"allow more divergence: train a probe with --margin {2 * margin:g}")
    if starved:
        advice.append(
            "the model answers the same with almost nothing left: check whether its predictions "
            f"on the texts differ at all, or train a probe with --margin {margin / 2:g}"
        )
    return tuple(advice)


def _margin(
    config: RunConfig,
    layers: Sequence[str],
    divergence: Float[np.ndarray, " L"],
    holds: Bool[np.ndarray, " L"],
) -> Finding:
    allowed = f"{config.tolerance:g} times the margin of {config.margin:g} nats"
    if holds.all():
        worst = int(divergence.argmax())
        return Finding(
            True,
            f"divergence is within {allowed} at every layer, at most {divergence[worst]:z.3f} "
            f"(layer {layers[worst]})",
        )
    over = [f"{layers[n]} ({divergence[n]:.3f})" for n in np.flatnonzero(~holds).tolist()]
    return Finding(False, f"divergence is over {allowed} at {listed(over)}")


def _agreement(
    config: RunConfig,
    layers: Sequence[str],
    agreement: Float[np.ndarray, " L"],
    holds: Bool[np.ndarray, " L"],
) -> Finding:
    worst = int(agreement.argmin())
    least, layer = f"{agreement[worst]:.1%}", f"(layer {layers[worst]})"
    spans = TASKS[config.task].problem_type == problem_types.QUESTION_ANSWERING
    stay = f"of the {'starts and ends of answers' if spans else 'predictions'} stay the same"
    if holds.all():
        return Finding(True, f"at least {least} {stay} {layer}")
    below = some_of([layers[n] for n in np.flatnonzero(~holds).tolist()], len(layers))
    return Finding(
        False,
        f"less than {config.min_agreement:.0%} {stay} at {below}; the least is {least} {layer}",
    )


def _masked(masked: Float[np.ndarray, " L"], idle: bool, starved: bool) -> Finding:
    said = f"from {masked.min():.1%} to {masked.max():.1%} of the positions are dropped"
    if idle:
        return Finding(False, f"{said}: almost none")
    return Finding(not starved, f"{said}: almost all" if starved else said)


def _settled(config: RunConfig, trained: Sequence[dict[str, Any]], when: str) -> Finding:
    """The verdict of `settled.verdict_on` in training, in words."""
    if not trained:
        return Finding(None, "its training did not record whether it had settled")
    off = [row for row in trained if row["still"] and not row["on_margin"]]
    kinds = {
        "still moving": [row for row in trained if not row["still"]],
        "steady, but above the margin": [r for r in off if r["divergence"] > config.margin],
        "steady, but below the margin, where more could be dropped": [
            row for row in off if row["divergence"] <= config.margin
        ],
    }
    parts = [
        f"{some_of([row['layer'] for row in rows], len(trained))} "
        f"{'were' if 1 < len(rows) < len(trained) else 'was'} {what}"
        for what, rows in kinds.items()
        if rows
    ]
    how = (
        "(settled means: from the third quarter of training to the last, the masked share moves by "
        f"at most {100 * MOVED_MASKED:g} points and log λ by {MOVED_MULTIPLIER:g}, and D is within "
        f"{OFF_MARGIN:.0%} of the margin; where λ·m ≤ {IDLE:g}, λ may move and D be below it)"
    )
    if parts:
        return Finding(False, f"{when}, {'; '.join(parts)} {how}")
    return Finding(True, f"its training had settled at every layer {how}")
