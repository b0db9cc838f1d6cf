"""The options of the commands: what each is called, takes and defaults to."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffmask_jax import __version__

UNSET: Any = argparse.SUPPRESS  # options left out leave the settings' own defaults in force


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; texts may stand behind options too, which argparse itself does not see."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.command != "explain" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.text += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diffmask",
        description="See which tokens a classifier's decision needs, layer by layer.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True)
    _add_finetune(commands.add_parser("finetune", help="train a classifier of SST: a BERT, a GRU"))
    _add_train(commands.add_parser("train", help="train a probe on a frozen classifier"))
    _add_explain(commands.add_parser("explain", help="explain texts with a trained probe"))
    _add_compare(commands.add_parser("compare", help="draw what six methods say of a text"))
    _add_evaluate(commands.add_parser("evaluate", help="masked share, divergence and F1 by layer"))
    return parser


def _add_finetune(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="finetune")
    add = parser.add_argument
    add("task", choices=["sst"], help="the treebank, five classes")
    add("--model", required=True, help="folder or hub id of a BERT, whose head is new; or gru")
    add("--embeddings", help="gru: folder or hub id of the BERT whose word embeddings are read")
    add("--out", required=True, type=Path, help="folder of the fine-tuned model")
    _add_places(parser)
    add("--truncate", action="store_true", help="cut texts longer than the model takes")
    add("--epochs", type=_positive_int, default=UNSET, help="passes over the training texts")
    add("--batch-size", type=_positive_int, default=UNSET, help="texts a step")
    add("--encoder-rate", type=_positive, default=UNSET, help="peak learning rate of the encoder")
    add("--head-rate", type=_positive, default=UNSET, help="peak learning rate of the head")
    add("--seed", type=_seed, default=UNSET, help="of the head, dropout and data order")


def _add_places(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw-dir", help="sst: folder of train.txt, dev.txt, test.txt (default: download)")
    add("--data-dir", help="sst: where the prepared data set is kept (default: TFDS's folder)")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="train")
    add = parser.add_argument
    add("task", choices=["sst", "texts"], help="sst: the treebank; texts: your own, a line each")
    add("--model", required=True, help="folder or hub id of a classifier, a BERT or a GRU")
    add("--out", required=True, type=Path, help="run folder; an unfinished run there goes on")
    _add_places(parser)
    add("--train", help="texts: file of training texts, one a line")
    add("--dev", help="texts: file of validation texts, one a line")
    add("--truncate", action="store_true", help="cut texts longer than the model takes")
    add("--gate", choices=["input", "hidden"], default="input", help="what the probe masks")
    add("--layers", choices=["example", "batch"], help="one depth an example (the default of the "
        "input probe) or a batch (the authors' way, the only one of the hidden probe)")  # fmt: skip
    add("--sparsity", choices=["log", "count"], default=UNSET,
        help="minimise log keep probabilities or their sum")  # fmt: skip
    add("--steps", type=_positive_int, help="optimiser steps", default=UNSET)
    add("--batch-size", type=_positive_int, help="texts a step", default=UNSET)
    add("--steps-per-call", type=_positive_int, default=UNSET,
        help="steps in one call of the device")  # fmt: skip
    add("--seed", type=_seed, help="of initialisation, gates and data order", default=UNSET)
    add("--margin", type=_positive, help="divergence allowed, in nats", default=UNSET)
    add("--probe-rate", type=_positive, help="learning rate of the probe", default=UNSET)
    add("--baseline-rate", type=_positive, help="learning rate of the baseline", default=UNSET)
    add("--multiplier-rate", type=_positive, help="learning rate of the multipliers", default=UNSET)
    add("--warmup", type=_count, help="steps of linear warm-up", default=UNSET)
    add("--validate-every", type=_positive_int, help="steps between validations", default=UNSET)
    add("--validation-texts", type=_positive_int, help="texts of a validation", default=UNSET)
    add("--tolerance", type=_positive, default=UNSET,
        help="a probe is kept only if its divergence is at most this many margins")  # fmt: skip
    add("--precision", choices=["float32", "bfloat16"], default=UNSET,
        help="what the frozen model computes in; the probe and the game stay float32")  # fmt: skip
    add("--accumulate", type=_positive_int, default=UNSET, metavar="PARTS",
        help="work through every batch in so many parts: same steps, less memory")  # fmt: skip
    add("--remat", action="store_true", default=UNSET,
        help="compute blocks again in the backward pass: less memory, more time")  # fmt: skip
    add("--cache-states", action="store_true",
        help="keep the clean states of all training texts in memory: faster steps")  # fmt: skip
    add("--profile", action="store_true",
        help="trace a few calls of the device into the run folder, for TensorBoard")  # fmt: skip
    add("--distributed", choices=["auto", "off"], default="auto",
        help="auto: join the processes that SLURM, Open MPI, Cloud TPU, Kubernetes or "
        "JAX_COORDINATOR_ADDRESS started together; off: train alone")  # fmt: skip
    add("--min-agreement", type=_positive, default=UNSET,
        help="and if at least this share of predictions stays")  # fmt: skip


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="explain")
    add = parser.add_argument
    add("run", type=Path, help="run folder made by `diffmask train`")
    add("text", nargs="*", help="texts to explain")
    add("--file", type=Path, help="file of texts, one a line (default: standard input)")
    add("--model", help="where the model lies now, if it was moved")
    add("--layers", action="store_true", help="one row per layer instead of the last one")
    add("--truncate", action="store_true", help="cut texts longer than the model takes")
    add("--png", type=Path, help="write a heat map (one text)")
    add("--html", type=Path, help="write one standalone page")
    add("--jsonl", type=Path, help="write one JSON object a text")
    add("--color", choices=["auto", "always", "never"], default="auto")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="compare")
    add = parser.add_argument
    add("runs", nargs="+", type=Path, help="run folders of one model: input, hidden or both")
    add("--text", required=True, help="the text to explain")
    add("--model", help="where the model lies now, if it was moved")
    add("--truncate", action="store_true", help="cut a text longer than the model takes")
    add("--html", type=Path, help="write one standalone page")
    add("--png", type=Path, help="write a picture")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="evaluate")
    add = parser.add_argument
    add("run", type=Path, help="run folder made by `diffmask train`")
    add("--split", choices=["train", "dev", "test"], default="dev", help="of SST")
    add("--texts", type=Path, help="evaluate on a file of texts, one a line, instead")
    add("--model", help="where the model lies now, if it was moved")
    add("--out", type=Path, help="JSON file (default: RUN/evaluation-SPLIT.json)")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _seed(text: str) -> int:
    value = _count(text)
    if value >= 2**32:  # JAX would take it for another one
        raise argparse.ArgumentTypeError(f"{text} is not below 2^32")
    return value
