"""Speed on this machine: training steps beside PyTorch's and by the layer that is masked, and the
exact search of erasure beside plain enumeration.

    python -m experiments.throughput toy [--out reports/throughput] [--rounds 7]
    python -m experiments.throughput hidden --model MODEL [--out reports/throughput_hidden]
    python -m experiments.throughput erasure [--out reports/throughput_erasure]

Cost: about a minute each on two CPU cores, of which half is compilation; two for the last. The
first one needs PyTorch. The paper reports no speeds.
"""

import argparse
import sys
from pathlib import Path

from diffmask_jax.errors import UserError


def main() -> None:
    """Reads the command line and runs one comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--model", help="hidden: a BERT classifier")
    parser.add_argument("--out", type=Path, help="report folder")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    arguments = parser.parse_args()
    try:
        if arguments.rounds < 1:
            raise UserError(f"--rounds must be at least 1, got {arguments.rounds}")
        TASKS[arguments.task](arguments)
    except UserError as error:
        sys.exit(_fail(error))


def _hidden(arguments: argparse.Namespace) -> None:
    from experiments import throughput_hidden

    if not arguments.model:
        raise UserError("which model? give --model FOLDER")
    folder = arguments.out or Path("reports/throughput_hidden")
    folder.mkdir(parents=True, exist_ok=True)
    throughput_hidden.run(arguments.model, folder, arguments.rounds)


def _erasure(arguments: argparse.Namespace) -> None:
    from experiments import throughput_erasure

    folder = arguments.out or Path("reports/throughput_erasure")
    folder.mkdir(parents=True, exist_ok=True)
    throughput_erasure.run(folder, arguments.rounds)


def _toy(arguments: argparse.Namespace) -> None:
    try:
        from experiments import throughput_toy
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UserError(
            "PyTorch is missing: pip install torch, or pip install 'diffmask_jax[torch]'"
        ) from error
    folder = arguments.out or Path("reports/throughput")
    folder.mkdir(parents=True, exist_ok=True)
    throughput_toy.run(folder, arguments.rounds)


def _fail(error: UserError) -> int:
    print(error, file=sys.stderr)
    return 2


TASKS = {"toy": _toy, "hidden": _hidden, "erasure": _erasure}

if __name__ == "__main__":
    main()
