"""Measuring a run's probe: what it drops at every layer, and whether the model decides alike."""

import functools
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.runtime import devices
from diffmask_jax.tasks.texts import check_labels, read_lines
from diffmask_jax.training import run_folder

BATCH = 32
GATES = {"sampled": faithfulness.sampled, "thresholded": faithfulness.thresholded}


def evaluate(
    run: Path, split: str, model: str | None = None, texts: Path | None = None
) -> dict[str, Any]:
    """The table of `faithfulness.table` for sampled gates and for gates of keep probability > ½.

    Measured on a split of the run's data, or on a file of texts instead.

    Raises: UserError if the run, its model or the data cannot be read.
    """
    explainer = Explainer.from_pretrained(run, model)
    data = read_lines(texts) if texts else run_folder.read_split(explainer.config, split)
    check_labels(data.labels, len(explainer.model.labels))
    encoded = explainer.encode(data.texts, truncate=True)
    layers, limit = explainer.model.model.layers, explainer.model.config.positions
    mesh = devices.data_mesh()
    report: dict[str, Any] = {
        "run": str(run),
        "split": texts.name if texts else split,
        "texts": len(encoded),
        "gate": explainer.config.gate,
        "layers": [*layers, "mean"],
    }
    for name, gates in GATES.items():
        outcome_of = functools.partial(faithfulness.outcome_of, explainer.game, gates)
        in_order = batches.in_order(encoded, devices.round_up(BATCH, mesh), limit)
        stream = tqdm(in_order, f"{name} gates", unit="batch", disable=None)
        outcome = faithfulness.measure(
            functools.partial(devices.spread(outcome_of, mesh), *explainer.params),
            iter(stream),  # a bar claims to be a collection, and has no length
            jax.random.key(0),
        )
        report[name] = faithfulness.table(outcome, data.labels)
    return report


def as_markdown(report: dict[str, Any]) -> str:
    """The report as one table a kind of gates: a row a layer, and the mean over layers last."""
    lines = [
        f"{report['run']}: {report['gate']} probe on {report['texts']} texts ({report['split']})"
    ]
    for name in GATES:
        rows = report[name]
        labelled = "f1_masked" in rows[0]
        head = ["layer", "masked", "KL (nats)", "agreement"]
        head += ["macro-F1 original → masked"] if labelled else []
        lines += ["", f"{name} gates", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for layer, row in zip(report["layers"], rows, strict=True):
            cells = [
                layer, f"{row['masked']:.1%}", f"{row['divergence']:.3f}", f"{row['agreement']:.1%}"
            ]  # fmt: skip
            if labelled:
                cells.append(f"{row['f1_original']:.1f} → {row['f1_masked']:.1f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
