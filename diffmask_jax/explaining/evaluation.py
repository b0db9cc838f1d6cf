"""Measuring a run's probe: what it drops at every layer, and whether the model decides alike."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import Game
from diffmask_jax.models.heads import Score
from diffmask_jax.runtime import devices, markdown
from diffmask_jax.runtime.json_files import finite
from diffmask_jax.runtime.tensors import OVERFLOW, check_finite
from diffmask_jax.tasks.encoded_examples import EncodedExamples
from diffmask_jax.tasks.scoring import scoring_of
from diffmask_jax.training import assessment, run_folder
from diffmask_jax.training.assessment import Assessment

BATCH = 32
SPANS = ("positions kept", "spans kept")
DRAWS = {"sampled": faithfulness.sampled, "thresholded": faithfulness.thresholded}


def evaluate(explainer: Explainer, name: str, data: EncodedExamples, run: str) -> dict[str, Any]:
    """The table of `faithfulness.table` for sampled gates and for gates of keep probability > ½.

    Scores against gold labels are there where the examples have them, None where they are not
    defined. Of questions, agreement is the share of start and of end positions that stay, and
    `spans_kept` that of questions of which both do. `verdict` is that of `assess` on thresholded
    gates. run: the run's folder; name: what the data is called in the report.

    Raises: UserError if a label is none of the model's.
    """
    model, encoded = explainer.model, data.encoded
    scoring = scoring_of(model, data)
    mesh = devices.data_mesh()
    report: dict[str, Any] = {
        "run": run,
        "split": name,
        "texts": len(encoded),
        "gate": explainer.config.gate,
        "layers": [*model.network.layers, "mean"],
        "scores": [score._asdict() for score in scoring.scores],
    }
    for kind, gates in DRAWS.items():
        outcome_of = devices.spread(_outcome_of, mesh, explainer.game, gates, scoring.read)
        size = devices.round_up(BATCH, mesh)
        in_order = batches.in_order(encoded, size, model.config.positions)
        stream = tqdm(in_order, f"{kind} gates", unit="batch", disable=None)
        outcome = faithfulness.measure(
            functools.partial(outcome_of, *explainer.params),
            iter(stream),  # a bar claims to be a collection, and has no length
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
    report["verdict"] = assessment.as_json(_assessed(explainer, table[:-1], Path(run)))
    return report


def _outcome_of(
    game: Game, gates: faithfulness.Gates, read: Callable[[Any], Any], *arguments: Any
) -> faithfulness.Outcome:
    return faithfulness.outcome_of(game, gates, *arguments, read=read)


def _assessed(explainer: Explainer, rows: list[dict[str, float]], folder: Path) -> Assessment:
    """What to think of the probe. rows: of thresholded gates, one a layer."""
    return assessment.assess(
        explainer.config,
        explainer.model.network.layers,
        run_folder.load_layers(folder),
        *(np.array([row[name] for row in rows]) for name in faithfulness.Outcome._fields[:3]),
    )


def as_markdown(report: dict[str, Any]) -> str:
    """The report as one table a kind of gates, a row a layer and their mean last; the verdict."""
    lines = [
        f"{report['run']}: {report['gate']} probe on {report['texts']} texts ({report['split']})"
    ]
    for kind in DRAWS:
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
        lines += ["", f"{kind} gates", "", markdown.table(head, cells)]
    verdict = assessment.from_json(report["verdict"])
    lines += ["", *assessment.told(verdict, assessment.THRESHOLDED)]
    return "\n".join(lines)


def _change(row: dict[str, float | None], score: Score) -> str:
    values = (row[f"{score.name}_{when}"] for when in ("original", "masked"))
    return " → ".join("–" if value is None else score.shown(value) for value in values)
