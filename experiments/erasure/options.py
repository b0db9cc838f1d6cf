"""The options of both commands of the erasure experiment: model, data, margin, report folder."""

import argparse
from pathlib import Path

from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.tasks.sst import SST


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `experiments.erasure` and `experiments.erasure_tuning` share."""
    parser.add_argument("--model", required=True, help="GRU made by `diffmask finetune sst`")
    add_settings(parser, SST.places)
    parser.add_argument(
        "--margin",
        type=float,
        default=0.05,
        help="divergence up to which a set is feasible, in nats (default: 0.05)",
    )
    parser.add_argument("--out", type=Path, default=Path("reports/erasure"), help="report folder")
