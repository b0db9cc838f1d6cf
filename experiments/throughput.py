"""Training steps per second beside PyTorch's, on this machine.

    python -m experiments.throughput toy [--out reports/throughput] [--rounds 7]

Cost: about a minute on two CPU cores, of which half is compilation. Needs PyTorch. The paper
reports no speeds.
"""

import argparse
import sys
from pathlib import Path

from diffmask_jax.errors import UserError


def main() -> None:
    """Reads the command line and runs one comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["toy"])
    parser.add_argument("--out", type=Path, default=Path("reports/throughput"), help="folder")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    arguments = parser.parse_args()
    try:
        _run(arguments.out, arguments.rounds)
    except UserError as error:
        sys.exit(_fail(error))


def _run(folder: Path, rounds: int) -> None:
    if rounds < 1:
        raise UserError(f"--rounds must be at least 1, got {rounds}")
    try:
        from experiments import throughput_toy
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UserError(
            "PyTorch is missing: pip install torch, or pip install 'diffmask_jax[torch]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    throughput_toy.run(folder, rounds)


def _fail(error: UserError) -> int:
    print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
