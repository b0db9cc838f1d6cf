"""A probe's faithfulness beside that of other methods: in words, as tables and as JSON."""

from typing import Any

import numpy as np

from diffmask_jax.analysis.removal import Measures
from diffmask_jax.explaining.rivals import LONGEST, PROBE, Means, Rivalry
from diffmask_jax.runtime import markdown
from diffmask_jax.runtime.json_files import jsonable

FEWEST = 6  # sources: of four, a 95% interval holds a mean in 87% of cases, of six in 94%
HEAD = ("", "sufficiency ↓", "comprehensiveness ↑")
SUFFIXES = {
    "With as many tokens as the probe keeps": "",
    "Area over the curve": "_area",
    "Area, normalised by the best and the worst order": "_normalised",
}
"""Each pair of measures, and the suffix of its fields in `Measures`."""


def explained(rivalry: Rivalry) -> str:
    """An explanation of the numbers."""
    drawn, examples = rivalry.sources.word, rivalry.sources.examples
    return (
        f"On {rivalry.measures.shape[1]} {examples}. Tokens are removed in each method's order; "
        f"every method keeps as many as the probe does (it drops {rivalry.masked:.1%}). "
        "Sufficiency: how much less probable the prediction is with only the kept tokens (lower is "
        "better). "
        "Comprehensiveness: how much less probable it is with only the others (higher is better). "
        "Area: the mean over all numbers of removed tokens. Normalised: 0 and 1 are the smallest "
        f"and the largest area that a search found for any order, over the {rivalry.searched} "
        f"{examples} of at most {LONGEST} tokens besides special ones. * and °: the probe is "
        "better or worse than that method; the paired 95% interval of the difference excludes 0 "
        f"(bootstrap over {drawn}; nothing is marked with fewer than {FEWEST} {drawn})."
    )


def tables(rivalry: Rivalry) -> dict[str, list[list[str]]]:
    """Title -> rows under `HEAD`, for each pair of measures."""
    return {
        title: rows(rivalry, (f"sufficiency{suffix}", f"comprehensiveness{suffix}"))
        for title, suffix in SUFFIXES.items()
    }


def rows(rivalry: Rivalry, measures: tuple[str, ...] = Measures._fields) -> list[list[str]]:
    """For each method its name, and the mean of each measure with its interval and mark."""
    means, differences, drawn = rivalry.means(), rivalry.differences(), rivalry.drawn()
    return [
        [name, *(_cell(name, one, means, differences, drawn[one]) for one in measures)]
        for name in rivalry.methods
    ]


def as_text(rivalry: Rivalry) -> str:
    """The tables, no wider than a terminal."""
    return "\n\n".join(
        f"{title}\n\n{markdown.table(HEAD, cells)}" for title, cells in tables(rivalry).items()
    )


def as_json(rivalry: Rivalry) -> dict[str, Any]:
    """Means with intervals, and the probe's differences from each other method; None if unknown."""
    return {
        "texts": rivalry.measures.shape[1],
        "searched": rivalry.searched,
        "masked": rivalry.masked,
        "means": jsonable(rivalry.means()),
        "differences": jsonable(rivalry.differences()),
    }


def _cell(
    name: str, measure: str, means: dict[str, Means], differences: dict[str, Means], drawn: int
) -> str:
    interval = means[name][measure]
    if not np.isfinite(interval.mean):
        return "–"
    shown = f"{interval.mean:z.3f}"
    if np.isfinite(interval.low):
        shown += f" [{interval.low:z.3f}, {interval.high:z.3f}]"
    if name == PROBE or drawn < FEWEST:
        return shown
    difference = differences[name][measure]
    if difference.low <= 0 <= difference.high:
        return shown
    better = (difference.mean > 0) == measure.startswith("comprehensiveness")
    return f"{shown} {'*' if better else '°'}"
