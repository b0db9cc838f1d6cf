"""Evaluating a run's probe: what it drops at every layer, and whether the decisions stay."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import Game
from diffmask_jax.models.heads import Score
from diffmask_jax.runtime import devices, markdown
from diffmask_jax.runtime.json_files import finite
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.runtime.tensors import OVERFLOW, check_finite
from diffmask_jax.tasks.encoded_examples import EncodedExamples
from diffmask_jax.tasks.scoring import scoring_of
from diffmask_jax.training import assessment
from diffmask_jax.training.assessment import layer_means
from diffmask_jax.training.keeping import assess_run

BATCH = 32
SPANS = ("positions kept", "spans kept")
DRAWS = {
    "sampled": (faithfulness.sampled, assessment.SAMPLED),
    "thresholded": (faithfulness.thresholded, assessment.THRESHOLDED),
}


def evaluate(
    explainer: Explainer, name: str, data: EncodedExamples, gold: np.ndarray | None, run: str
) -> dict[str, Any]:
    """`faithfulness.table` with sampled gates, and with gates thresholded at ½.

    Scores against gold labels are included if there are any; undefined ones are None. For
    questions, agreement is the share of start and end positions that stay, and `spans_kept` the
    share of questions of which both stay. `verdict` is that of `assess`, with thresholded gates.

    name: the name of the data in the report
    gold: its gold labels as `gold_labels` makes them; None if there are none
    run: the run's folder

    Raises: UserError if a divergence is not finite.
    """
    model, encoded = explainer.model, data.encoded
    scoring = scoring_of(model, data, gold)
    mesh = devices.data_mesh()
    report: dict[str, Any] = {
        "run": run,
        "split": name,
        "texts": len(encoded),
        "examples": model.head.examples,
        "gate": explainer.config.gate,
        "layers": [*model.network.layers, "mean"],
        "scores": [score._asdict() for score in scoring.scores],
    }
    for kind, (gates, words) in DRAWS.items():
        outcome_of = devices.spread(_outcome_of, mesh, explainer.game, gates, scoring.read)
        size = devices.round_up(BATCH, mesh)
        in_order = batches.in_order(encoded, size, model.config.positions)
        outcome = faithfulness.measure(
            functools.partial(outcome_of, *explainer.params),
            followed(in_order, words, "batches"),
            jax.random.key(0),
            scoring.decide,
        )
        table = faithfulness.table(outcome, scoring.measure)
        measured = [(row["divergence"], row["masked"]) for row in table]
        check_finite(measured, f"the divergence of {model.path} is not finite: {OVERFLOW}")
        if model.head.spans:
            kept = np.mean(np.asarray(outcome.agreement) == 1, axis=1).tolist()
            for row, share in zip(table, [*kept, np.mean(kept)], strict=True):
                row["spans_kept"] = float(share)
        report[kind] = [{name: finite(value) for name, value in row.items()} for row in table]
    means = layer_means(model.network.layers, table[:-1])  # with thresholded gates, measured last
    verdict = assess_run(explainer.config, Path(run), means)
    report["verdict"] = assessment.as_json(verdict)
    return report


def _outcome_of(
    game: Game, gates: faithfulness.Gates, read: Callable[[Any], Any], *arguments: Any
) -> faithfulness.Outcome:
    return faithfulness.outcome_of(game, gates, *arguments, read=read)


def as_markdown(report: dict[str, Any]) -> str:
    """The report as a table per kind of gates, one row per layer and their mean; the verdict."""
    what = f"{report['gate']} probe on {report['texts']} {report['examples']} ({report['split']})"
    lines = [f"{report['run']}: {what}"]
    for kind, (_, words) in DRAWS.items():
        rows = report[kind]
        scores = [Score(**score) for score in report["scores"]]
        spans = "spans_kept" in rows[0]
        head = ["layer", "masked", "KL (nats)", *(SPANS if spans else ["agreement"])]
        head += [f"{score.title} original → masked" for score in scores]
        cells = [
            [
                layer,
                f"{row['masked']:.1%}",
                f"{row['divergence']:z.3f}",
                f"{row['agreement']:.1%}",
                *([f"{row['spans_kept']:.1%}"] if spans else []),
                *(_change(row, score) for score in scores),
            ]
            for layer, row in zip(report["layers"], rows, strict=True)
        ]
        lines += ["", words, "", markdown.table(head, cells)]
    verdict = assessment.from_json(report["verdict"])
    lines += ["", *assessment.told(verdict, assessment.THRESHOLDED)]
    return "\n".join(lines)


def _change(row: dict[str, float | None], score: Score) -> str:
    values = (row[f"{score.name}_{when}"] for when in ("original", "masked"))
    return " → ".join("–" if value is None else score.shown(value) for value in values)
