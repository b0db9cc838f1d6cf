"""What the model answered from what a probe keeps of one text, at every layer in turn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.analysis.replaying import Replay
from diffmask_jax.models.heads import Answer


class Replayed(NamedTuple):
    """One masked pass a layer: what is kept there (P(z ≠ 0) > ½) stays, the rest is the baseline.

    answers: what the model says; divergence: D_KL[whole ‖ kept], nats
    agreement: with its decision on the whole text, in [0, 1]; of a span, the share of its two ends
    probability: of that decision, and by the whole text; None for a regression
    """

    answers: tuple[Answer, ...]
    divergence: Float[np.ndarray, " L"]
    agreement: Float[np.ndarray, " L"]
    probability: Float[np.ndarray, " L"] | None
    whole: float | None

    def to_dict(self) -> dict[str, Any]:
        """Itself as JSON types, a list over the layers each, but for `whole`."""
        shares: dict[str, Any] = {}
        if self.probability is not None and self.whole is not None:
            shares = {"probability": rounded(self.probability), "whole": round(self.whole, 4)}
        return {
            "prediction": [answer.decision for answer in self.answers],
            "line": [answer.line for answer in self.answers],
            "divergence": rounded(self.divergence),
            "agreement": rounded(self.agreement),
            **shares,
        }


def replayed_of(
    replay: Replay, row: int, answer: Callable[[np.ndarray], Answer], numbers: bool
) -> Replayed:
    """One text of a batch. answer: outputs -> what is said; numbers: they have no probability."""
    outcome, outputs = replay.outcome, np.asarray(replay.outputs)
    return Replayed(
        answers=tuple(answer(one[row]) for one in outputs),
        divergence=np.asarray(outcome.divergence)[:, row],
        agreement=np.asarray(outcome.agreement)[:, row],
        probability=None if numbers else np.asarray(replay.probability)[:, row],
        whole=None if numbers else float(replay.whole[row]),
    )


def rounded(values: np.ndarray) -> list[float]:
    """Four decimals, for files."""
    whole: list[float] = np.round(np.asarray(values, np.float64), 4).tolist()
    return whole
