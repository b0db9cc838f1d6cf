"""The report every experiment writes: report.json, report.md beside it, and the pictures."""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffmask_jax.runtime import settings
from diffmask_jax.runtime.environment import environment
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.markdown import table

CLAIMS = ("claim", "says", "paper", "ours", "spread", "runs", "holds")


class Claim(NamedTuple):
    """One statement with its numbers: the paper's (or None), and what this run measured.

    why: should it not hold, what differs from the paper; empty if that is not known
    """

    id: str
    says: str
    paper: float | None
    ours: float
    spread: float | None
    runs: int
    unit: str
    holds: bool
    why: str = ""


def claim(
    id: str,
    says: str,
    values: Sequence[float],
    *,
    paper: float | None,
    unit: str,
    holds: bool,
    why: str = "",
) -> Claim:
    """A claim about the mean of one value a run; spread is their standard deviation."""
    measured = len(values) > 1 and np.isfinite(values).all()
    spread = float(np.std(values, ddof=1)) if measured else None
    return Claim(id, says, paper, float(np.mean(values)), spread, len(values), unit, holds, why)


class Timer:
    """Seconds by part, each printed as it ends.

    file: where they are kept, to be added to by the next call of an experiment that was stopped
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.seconds: dict[str, float] = {} if file is None else settings.read(file) or {}
        self._start = time.perf_counter()

    @property
    def passed(self) -> float:
        """Seconds since it was made: less than those of all parts where some ran beside others."""
        return time.perf_counter() - self._start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times what is inside; JAX results must be waited for inside as well."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            if self._file is not None:
                settings.write(self._file, self.seconds)
        print(f"{name:<40}{spent:7.1f} s", flush=True)


def write_report(
    folder: Path,
    title: str,
    claims: Sequence[Claim],
    timings: dict[str, float],
    *,
    body: str,
    raw: Mapping[str, object],
) -> None:
    """report.json (machine-readable, `raw` results included) and report.md (for people).

    timings: seconds by part; of "all", too, where they are not the parts' sum
    """
    command = shlex.join(["python", "-m", _module(), *sys.argv[1:]])
    where = {name: value for name, value in environment().items() if name != "command"}
    report = {
        "command": command,
        "claims": [c._asdict() for c in claims],
        "timings": timings,
        "environment": where,
        "raw": raw,
    }
    write_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")
    times = timings if "all" in timings else timings | {"all": sum(timings.values())}
    parts = [
        f"# {title}",
        f"`{command}`",
        body.strip(),
        "## Claims",
        table(CLAIMS, map(_row, claims)),
        "## Time",
        table(("part", "seconds"), ((name, f"{spent:.1f}") for name, spent in times.items())),
        f"`{json.dumps(where)}`",
    ]
    write_atomically(folder / "report.md", "\n\n".join(parts) + "\n")


def print_claims(claims: Sequence[Claim]) -> None:
    """A line each, and below what does not hold, why."""
    for c in claims:
        paper = "" if c.paper is None else f", {c.paper:g} in the paper"
        holds = "holds" if c.holds else f"DOES NOT HOLD: {c.says}{paper}"
        print(f"{c.id:<40}{_digits(c.ours):>10} {c.unit:<7} {holds}")
        if c.why and not c.holds:
            print(f"    {c.why}")


def _module() -> str:
    main = sys.modules["__main__"].__spec__
    return main.name.removesuffix(".__main__") if main else Path(sys.argv[0]).stem


def _row(c: Claim) -> list[str]:
    return [
        c.id,
        c.says,
        "–" if c.paper is None else f"{c.paper:g}",
        f"{_digits(c.ours)} {c.unit}",
        "–" if c.spread is None else _digits(c.spread),
        str(c.runs),
        "yes" if c.holds else f"**no**{': ' * bool(c.why)}{c.why}",
    ]


def _digits(number: float) -> str:
    """Three decimals, but four digits of what these would show as next to nothing."""
    return f"{number:.3f}" if number == 0 or abs(number) >= 0.1 else f"{number:.4g}"
