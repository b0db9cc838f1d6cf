"""The report every experiment writes: report.json, report.md beside it, and the pictures."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from diffmask_jax.runtime.files import write_atomically

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "transformers")


class Claim(NamedTuple):
    """One statement with its numbers: the paper's (or None), and what this run measured."""

    id: str
    says: str
    paper: float | None
    ours: float
    spread: float | None
    runs: int
    unit: str
    holds: bool


def claim(
    id: str, says: str, values: Sequence[float], *, paper: float | None, unit: str, holds: bool
) -> Claim:
    """A claim about the mean of one value a run; spread is their standard deviation."""
    measured = len(values) > 1 and np.isfinite(values).all()
    spread = float(np.std(values, ddof=1)) if measured else None
    return Claim(id, says, paper, float(np.mean(values)), spread, len(values), unit, holds)


class Timer:
    """Seconds by part, each printed as it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times what is inside; JAX results must be waited for inside as well."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        print(f"{name:<40}{self.seconds[name]:7.1f} s", flush=True)


def environment() -> dict[str, object]:
    """What the numbers depend on beside the code: versions, machine, commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "cpus": os.cpu_count(),
        "commit": commit.stdout.strip() or None,
    }


def write_report(
    folder: Path,
    title: str,
    claims: Sequence[Claim],
    timings: dict[str, float],
    *,
    body: str,
    raw: dict[str, object],
) -> None:
    """report.json (machine-readable, `raw` results included) and report.md (for people)."""
    command = shlex.join(["python", "-m", _module(), *sys.argv[1:]])
    report = {
        "command": command,
        "claims": [c._asdict() for c in claims],
        "timings": timings,
        "environment": environment(),
        "raw": raw,
    }
    write_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")
    where = report["environment"]
    lines = [f"# {title}", "", f"`{command}`", "", body.strip(), "", "## Claims", ""]
    lines += [
        "| claim | says | paper | ours | spread | runs | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(c) for c in claims]
    lines += ["", "## Time", "", "| part | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.1f} |" for name, seconds in timings.items()]
    lines += [f"| all | {sum(timings.values()):.1f} |", "", f"`{json.dumps(where)}`", ""]
    write_atomically(folder / "report.md", "\n".join(lines))


def print_claims(claims: Sequence[Claim]) -> None:
    """A line each."""
    for c in claims:
        holds = "holds" if c.holds else "DOES NOT HOLD"
        print(f"{c.id:<40}{_digits(c.ours):>10} {c.unit:<7} {holds}")


def _module() -> str:
    main = sys.modules["__main__"].__spec__
    return main.name.removesuffix(".__main__") if main else Path(sys.argv[0]).stem


def _row(c: Claim) -> str:
    paper = "–" if c.paper is None else f"{c.paper:g}"
    spread = "–" if c.spread is None else _digits(c.spread)
    holds = "yes" if c.holds else "**no**"
    says = c.says.replace("|", r"\|")
    return (
        f"| {c.id} | {says} | {paper} | {_digits(c.ours)} {c.unit} | {spread} | {c.runs} "
        f"| {holds} |"
    )


def _digits(number: float) -> str:
    """Three decimals, but four digits of what these would show as next to nothing."""
    return f"{number:.3f}" if number == 0 or abs(number) >= 0.1 else f"{number:.4g}"
