"""Where a study of convergence keeps what it plays, and the runs that it plays."""

import argparse
from pathlib import Path

from diffmask_jax.commands.arguments import Parser
from diffmask_jax.training.config import RunConfig, run_config
from diffmask_jax.training.fingerprint import ids_of
from diffmask_jax.training.train import Prepared, prepare
from experiments.common.resume import check_model, check_texts

MARGINS = {"input": 0.1, "hidden": 0.05}
OUT = Path("reports/convergence")


def add_places(parser: Parser) -> None:
    """The options that say where model, texts and results are."""
    add = parser.add_argument
    add("--model", required=True, help="folder or hub id of a classifier for SST-5")
    add("--raw-dir", help="folder of SST's trees")
    add("--data-dir", help="where TensorFlow Datasets keeps its copy of them")
    add("--out", type=Path, default=OUT, help="folder for all results")


def config_of(options: argparse.Namespace, gate: str, seed: int) -> RunConfig:
    """The run of a seed of a gate's probe, on the model and the texts of `add_places`."""
    places = {"raw_dir": options.raw_dir, "data_dir": options.data_dir}
    return run_config(options.model, "sst", **places, gate=gate, margin=MARGINS[gate], seed=seed)


def prepared_for(options: argparse.Namespace, gate: str) -> Prepared:
    """Model and texts. Raises: UserError if the folder of the gate has results of others."""
    prepared, folder = prepare(config_of(options, gate, 0), truncate=True), options.out / gate
    check_model(folder, prepared.model)
    check_texts(folder, train=ids_of(prepared.texts.train), dev=ids_of(prepared.texts.dev))
    return prepared


def reference_folder(folder: Path, number: int) -> Path:
    """Where a reference is kept in the folder of a gate."""
    return folder / "references" / str(number)


def trial_folder(folder: Path, recipe: str, seed: int) -> Path:
    """Where a trial is kept in the folder of a gate. recipe: its name."""
    return folder / recipe.replace(",", "").replace(" ", "-") / str(seed)
