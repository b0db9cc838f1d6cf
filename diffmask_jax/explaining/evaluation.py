"""Measuring a run's probe: what it drops at every layer, and whether the model decides alike."""

import functools
from typing import Any

import jax
from tqdm import tqdm

from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.models.heads import Score
from diffmask_jax.runtime import devices, markdown
from diffmask_jax.runtime.json_files import finite
from diffmask_jax.runtime.tensors import OVERFLOW, check_finite
from diffmask_jax.tasks.task import Examples
from diffmask_jax.training import setup

BATCH = 32
DRAWS = {"sampled": faithfulness.sampled, "thresholded": faithfulness.thresholded}


def evaluate(explainer: Explainer, name: str, examples: Examples, run: str) -> dict[str, Any]:
    """The table of `faithfulness.table` for sampled gates and for gates of keep probability > ½.

    Scores against gold labels are there where the examples have them, None where they are not
    defined. run, name: what the run and
    the data are called in the report.

    Raises: UserError if a text is empty or a label is none of the model's.
    """
    model = explainer.model
    gold = setup.gold_labels(model, examples)
    encoded = model.encode(examples.texts, True, examples.rows)
    mesh = devices.data_mesh()
    report: dict[str, Any] = {
        "run": run,
        "split": name,
        "texts": len(encoded),
        "gate": explainer.config.gate,
        "layers": [*model.network.layers, "mean"],
        "scores": [] if gold is None else [score._asdict() for score in model.head.scores],
    }
    for kind, gates in DRAWS.items():
        outcome_of = functools.partial(faithfulness.outcome_of, explainer.game, gates)
        size = devices.round_up(BATCH, mesh)
        in_order = batches.in_order(encoded, size, model.config.positions)
        stream = tqdm(in_order, f"{kind} gates", unit="batch", disable=None)
        outcome = faithfulness.measure(
            functools.partial(devices.spread(outcome_of, mesh), *explainer.params),
            iter(stream),  # a bar claims to be a collection, and has no length
            jax.random.key(0),
        )
        table = faithfulness.table(outcome, gold, model.head.measure)
        measured = [(row["divergence"], row["masked"]) for row in table]
        check_finite(measured, f"the divergence of {model.path} is not finite: {OVERFLOW}")
        report[kind] = [{name: finite(value) for name, value in row.items()} for row in table]
    return report


def as_markdown(report: dict[str, Any]) -> str:
    """The report as one table a kind of gates: a row a layer, and the mean over layers last."""
    lines = [
        f"{report['run']}: {report['gate']} probe on {report['texts']} texts ({report['split']})"
    ]
    for kind in DRAWS:
        rows = report[kind]
        scores = [Score(**score) for score in report["scores"]]
        head = ["layer", "masked", "KL (nats)", "agreement"]
        head += [f"{score.title} original → masked" for score in scores]
        cells = [
            [
                layer,
                f"{row['masked']:.1%}",
                f"{row['divergence']:.3f}",
                f"{row['agreement']:.1%}",
                *(_change(row, score) for score in scores),
            ]
            for layer, row in zip(report["layers"], rows, strict=True)
        ]
        lines += ["", f"{kind} gates", "", markdown.table(head, cells)]
    return "\n".join(lines)


def _change(row: dict[str, float | None], score: Score) -> str:
    values = (row[f"{score.name}_{when}"] for when in ("original", "masked"))
    return " → ".join("–" if value is None else score.shown(value) for value in values)
