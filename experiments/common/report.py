"""The report of every experiment: report.json, report.md beside it, and the pictures."""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.runtime import settings
from diffmask_jax.runtime.environment import environment
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.json_files import dumps, jsonable
from diffmask_jax.runtime.markdown import table

ALL_DIGITS = 17  # of a float64
LAST_CALL = "Times are those of the last call; what an earlier one had finished was not repeated."
"""What the report says of an experiment whose `Timer` keeps no file."""
CLAIMS = ("claim", "says", "paper", "ours", "spread", "runs", "holds")


class Claim(NamedTuple):
    """A statement with its numbers: the paper's (or None), and those of this run.

    holds: None if the numbers are given, and nothing is claimed about them
    why: the difference from the paper that may explain why it does not hold; empty if unknown
    """

    id: str
    says: str
    paper: float | None
    ours: float
    spread: float | None
    runs: int
    unit: str
    holds: bool | None
    why: str = ""


def claim(
    id: str,
    says: str,
    values: Sequence[float],
    *,
    paper: float | None,
    unit: str,
    holds: bool | None,
    why: str = "",
    runs: int | None = None,
) -> Claim:
    """A claim about the mean of one value per run; the spread is their standard deviation.

    runs: how many runs there are, if a value is of several of them
    """
    mean, known = float(np.mean(values)), np.isfinite(values).all()
    spread = float(np.std(values, ddof=1)) if len(values) > 1 and known else None
    return Claim(id, says, paper, mean, spread, runs or len(values), unit, holds, why)


def with_spread(values: Sequence[float] | Float[np.ndarray, " S"], form: str) -> str:
    """The mean of one value per run ± their standard deviation, of which a single run has none."""
    mean = form.format(np.mean(values))
    return f"{mean} ± {form.format(np.std(values, ddof=1))}" if len(values) > 1 else mean


class Timer:
    """Seconds by part, each printed as it ends.

    file: where they are kept, so that the next call of a stopped experiment adds to them
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.seconds: dict[str, float] = {} if file is None else settings.read(file) or {}
        self._start = time.perf_counter()

    @property
    def passed(self) -> float:
        """Seconds since the start: less than the sum of all parts if some ran concurrently."""
        return time.perf_counter() - self._start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block, which must also wait for its JAX results."""
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
    """Write report.json (machine-readable, with the `raw` results) and report.md (for people).

    In the former numbers that are not finite are null.

    timings: seconds by part, and of "all" if that is not the sum of the parts
    """
    command = shlex.join(["python", "-m", _module(), *sys.argv[1:]])
    where = {name: value for name, value in environment().items() if name != "command"}
    report = {
        "command": command,
        "claims": list(claims),
        "timings": timings,
        "environment": where,
        "raw": raw,
    }
    write_atomically(folder / "report.json", dumps(jsonable(report, ALL_DIGITS), indent=1) + "\n")
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
    """Print a line per claim, followed by the reason if it does not hold."""
    for c in claims:
        paper = "" if c.paper is None else f", {c.paper:g} in the paper"
        given = {True: "holds", None: f"given{paper}"}
        holds = given.get(c.holds, f"DOES NOT HOLD: {c.says}{paper}")
        print(f"{c.id:<40}{_digits(c.ours):>10} {c.unit:<7} {holds}")
        if c.why and c.holds is False:
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
        {True: "yes", None: "–"}.get(c.holds, f"**no**{': ' * bool(c.why)}{c.why}"),
    ]


def _digits(number: float) -> str:
    """Three decimals, but four digits of small numbers."""
    return f"{number:.3f}" if number == 0 or abs(number) >= 0.1 else f"{number:.4g}"
