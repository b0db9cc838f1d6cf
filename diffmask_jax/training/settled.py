"""Has a game settled? Masked share, divergence and λ of each layer, over the last half of a run.

The third quarter of the run is compared with the last, so that the question is the same at any
length: would going on for another quarter change anything?
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

MOVED_MASKED = 0.02  # share of positions
MOVED_MULTIPLIER = 0.25  # of λ, in logarithms
OFF_MARGIN = 0.1  # of m
IDLE = 0.01  # λ·m: below this, the constraint does not matter to a layer's loss
FEWEST = 16  # calls: with fewer, quarters are too noisy to compare


class Curves(NamedTuple):
    """The `Diagnostics` of every call, averaged over its steps."""

    played: Float[np.ndarray, "N L"]
    divergence: Float[np.ndarray, "N L"]
    masked: Float[np.ndarray, "N L"]
    agreement: Float[np.ndarray, "N L"]
    multiplier: Float[np.ndarray, "N L"]


class Verdict(NamedTuple):
    """The last quarter's means of every layer, and which layers have stopped moving.

    masked, divergence (nats), multiplier: (L,)
    still: masked share and log λ differ from the third quarter's by at most 0.02 and 0.25, or the
        share alone, where λ·m ≤ 0.01
    on_margin: D is within 10% of m, or below it at λ·m ≤ 0.01
    """

    masked: Float[np.ndarray, " L"]
    divergence: Float[np.ndarray, " L"]
    multiplier: Float[np.ndarray, " L"]
    still: Bool[np.ndarray, " L"]
    on_margin: Bool[np.ndarray, " L"]

    @property
    def settled(self) -> Bool[np.ndarray, " L"]:
        """Which layers are still and on their margin."""
        return self.still & self.on_margin


def verdict_on(curves: Curves, margin: float) -> Verdict:
    """The verdict on a run's curves so far."""
    count = len(curves.played)
    before = _means(curves, slice(count // 2, 3 * count // 4))
    masked, divergence, multiplier = _means(curves, slice(3 * count // 4, count))
    change = np.abs(np.log(np.maximum(multiplier, 1e-9) / np.maximum(before[2], 1e-9)))
    idle = multiplier * margin <= IDLE
    still = (np.abs(masked - before[0]) <= MOVED_MASKED) & ((change <= MOVED_MULTIPLIER) | idle)
    at_margin = np.abs(divergence / margin - 1) <= OFF_MARGIN
    on_margin = at_margin | (idle & (divergence <= margin))
    enough = count >= FEWEST
    return Verdict(masked, divergence, multiplier, still & enough, on_margin & enough)


def _means(curves: Curves, window: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masked share, divergence and λ of a window, over the examples that played each layer."""
    played = np.maximum(curves.played[window].sum(axis=0), 1e-9)
    masked, divergence = (
        getattr(curves, name)[window].sum(axis=0) / played for name in ("masked", "divergence")
    )
    multiplier = curves.multiplier[window]
    return masked, divergence, multiplier.sum(axis=0) / max(len(multiplier), 1)


def as_rows(verdict: Verdict, layers: Sequence[str]) -> list[dict[str, Any]]:
    """One row per layer, for a file and for people."""
    return [
        {
            "layer": layer,
            "masked": float(verdict.masked[n]),
            "divergence": float(verdict.divergence[n]),
            "multiplier": float(verdict.multiplier[n]),
            "still": bool(verdict.still[n]),
            "on_margin": bool(verdict.on_margin[n]),
        }
        for n, layer in enumerate(layers)
    ]


def told(verdict: Verdict, layers: Sequence[str], margin: float) -> str:
    """A line that says which layers have not settled, and why; or that all have."""
    off = [
        f"{layer} ({_why(verdict, n, margin)})"
        for n, layer in enumerate(layers)
        if not verdict.settled[n]
    ]
    return f"not settled: {', '.join(off)}" if off else "settled at every layer"


def _why(verdict: Verdict, n: int, margin: float) -> str:
    reasons = [] if verdict.still[n] else ["moving"]
    if not verdict.on_margin[n]:
        reasons.append(f"D {verdict.divergence[n] / margin:z.2f} margins")
    return ", ".join(reasons)
