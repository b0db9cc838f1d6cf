"""The race with PyTorch: the same weights, batches and steps in this package, in PyTorch in the
authors' style, and in optimised PyTorch.

    python -m experiments.throughput --model MODEL --raw-dir SST [--out reports/throughput]
    python -m experiments.throughput toy | sst | squad | explain | growth     (one part of it)
    python -m experiments.throughput hidden --model MODEL    (a hidden step's cost by layer)
    python -m experiments.throughput erasure                 (the exact search of erasure)
    python -m experiments.throughput texts [--run RUN]       (the memory of explaining many)

Cost: about 45 minutes on two CPU cores of an otherwise idle machine; the toy a minute, growth five.
Needs PyTorch. On a GPU, models and texts that are not given are random ones of the same shapes. All
contenders are first shown to compute the same thing; then they take turns. The paper reports no
speeds; the authors' own code takes 5.4 s per input-probe step of 64 sentences on such a machine.
"""

import argparse
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.commands.arguments import add_settings
from diffmask_jax.commands.shared import places_of
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import make_folder
from diffmask_jax.runtime.huge_pages import use_huge_pages
from diffmask_jax.tasks.sst import SST
from diffmask_jax.training.config import PRECISIONS
from experiments.common.command import command, need_torch, parser_of

RACE = ("toy", "sst", "explain", "growth", "squad")


@command("throughput", goes_on=False)
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run the race, or one part of it."""
    if arguments is None:
        use_huge_pages()
    options = _parse(arguments)
    # Processes that measure memory need room beside this one on a GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if options.rounds < 1:
        raise UserError(f"--rounds must be at least 1, not {options.rounds}")
    folder = options.out or Path("reports", OTHERS.get(options.task, ("throughput",))[0])
    make_folder(folder)
    if options.task in OTHERS:
        OTHERS[options.task][1](options, folder)
    else:
        _race(options, folder)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("throughput", __doc__)
    parser.add_argument(
        "task",
        nargs="?",
        default="all",
        choices=[*RACE, "all", *OTHERS],
        help="what to measure (default: all)",
    )
    parser.add_argument("--model", help="a BERT classifier")
    parser.add_argument(
        "--run", type=Path, help="for the task texts: a run (default: a random probe)"
    )
    add_settings(parser, SST.places)
    parser.add_argument("--out", type=Path, help="report folder (default: reports/throughput)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        help="of the frozen model, ours and PyTorch's (default: what PyTorch has kernels for)",
    )
    return parser.parse_args(arguments)


def _race(options: argparse.Namespace, folder: Path) -> None:
    need_torch()
    from experiments.common.report import Timer, print_claims, write_report
    from experiments.throughput import data

    timer, needs_model = Timer(), options.task in ("all", "sst", "explain")
    source = data.Source(options.model, places_of(SST, options))
    contest = data.sst(source) if needs_model else None
    sections: dict[str, Any] = {}
    for name in RACE if options.task == "all" else (options.task,):
        for section in PARTS[name](options, contest, folder, timer):
            sections[name] = section
            # Whenever there is more, so that a race that is stopped leaves its results so far.
            claims = [claim for section in sections.values() for claim in section.claims]
            body = "\n\n".join(f"## {s.title}\n\n{s.body.strip()}" for s in sections.values())
            raw: dict[str, Any] = {done: section.raw for done, section in sections.items()}
            raw["environment"] = _environment()
            title = "Throughput: the race with PyTorch"
            write_report(folder, title, claims, timer.seconds, body=body, raw=raw)
    print_claims(claims)
    print(f"report in {folder}/report.md")


def _environment() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
    }


@functools.cache  # so that it is said once
def _precisions() -> Sequence[str]:
    from experiments.throughput.pytorch import contenders

    found = contenders.precisions()
    for precision in set(PRECISIONS).difference(found):
        print(f"{precision} is left out: PyTorch emulates it on this CPU (--precision asks for it)")
    return found


def _toy(options: argparse.Namespace, contest: Any, folder: Path, timer: Any) -> Iterator[Any]:
    from experiments.throughput import toy

    yield toy.run(options.rounds, timer)


def _sst(options: argparse.Namespace, contest: Any, folder: Path, timer: Any) -> Iterator[Any]:
    from experiments.throughput import sst

    yield from sst.run(contest, options.precision or _precisions(), options.rounds, timer)


def _squad(options: argparse.Namespace, contest: Any, folder: Path, timer: Any) -> Iterator[Any]:
    from experiments.throughput import squad

    yield from squad.run(options.precision or _precisions(), options.rounds, timer)


def _explain(options: argparse.Namespace, contest: Any, folder: Path, timer: Any) -> Iterator[Any]:
    from experiments.throughput import explain

    yield explain.run(contest, options.rounds, timer)


def _growth(options: argparse.Namespace, contest: Any, folder: Path, timer: Any) -> Iterator[Any]:
    from experiments.throughput import growth

    yield growth.run(folder, timer)


def _hidden(options: argparse.Namespace, folder: Path) -> None:
    from experiments.throughput import hidden

    if not options.model:
        raise UserError("no model to measure: pass --model FOLDER")
    hidden.run(options.model, folder, options.rounds)


def _erasure(options: argparse.Namespace, folder: Path) -> None:
    from experiments.throughput import erasure

    erasure.run(folder, options.rounds)


def _texts(options: argparse.Namespace, folder: Path) -> None:
    from experiments.throughput import texts

    texts.run(folder, options.run)


Part = Callable[[argparse.Namespace, Any, Path, Any], Iterator[Any]]
"""(options, contest, folder, timer) -> its `Section` so far, whenever there is more of it."""
PARTS: dict[str, Part] = {
    "toy": _toy,
    "sst": _sst,
    "squad": _squad,
    "explain": _explain,
    "growth": _growth,
}
OTHERS: dict[str, tuple[str, Callable[[argparse.Namespace, Path], None]]] = {
    "hidden": ("throughput_hidden", _hidden),
    "erasure": ("throughput_erasure", _erasure),
    "texts": ("throughput_texts", _texts),
}

if __name__ == "__main__":
    main()
