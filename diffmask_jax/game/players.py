"""The two players' optimisers: the authors' and ours."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from diffmask_jax.game.multipliers import LARGEST, ascend, control
from diffmask_jax.game.optimizers import (
    averaged,
    lookahead,
    scale_by_standard_deviation,
    standing_still,
    staying,
)


class Rates(NamedTuple):
    """Learning rates of φ, of b and of the multipliers, and the steps of linear warm-up of φ and b.

    The rate of the multipliers is that of log λ for our players, whose rates are the defaults, and
    of λ for the authors'.
    """

    probe: float = 1.5e-3
    baseline: float = 3e-3
    multiplier: float = 0.001
    warmup: int = 100


AUTHORS = Rates(probe=3e-4, baseline=1e-3, multiplier=0.3, warmup=1200)
"""The rates of the authors' players, on SST and SQuAD."""

START = 0.2  # λ·m
AUTHORS_START = 1.0  # λ


class Players(NamedTuple):
    """Who moves the probe, who moves λ, and where λ starts.

    primal: transforms a pair of probes, {"gates", "baselines"} each
    dual: transforms a pair of λs, one per layer, whose gradient is −(D − m)
    multiplier: where every λ starts
    """

    primal: optax.GradientTransformation
    dual: optax.GradientTransformation
    multiplier: float


@functools.cache
def authors(rates: Rates, start: float = AUTHORS_START) -> Players:
    """Centered RMSprop in Lookahead against RMSprop in Lookahead, with λ starting at `start`.
    Layers that a batch does not play are left as they are, and so are their moments."""
    scale = standing_still(scale_by_standard_deviation())
    probe = staying(lookahead(descent(scale, *_warmed_up(rates))))
    return Players(probe, ascend(rates.multiplier), multiplier=min(start, LARGEST))


@functools.cache
def settling(margin: float, rates: Rates, start: float = START) -> Players:
    """Centered RMSprop at falling rates, whose running average is used, against a controller of λ.

    λ starts at `start`/m: λ·D is then comparable to L₀, a share, whatever the unit of D and m. The
    larger, the less is dropped until λ has come down; the smaller, the more of D until λ has risen.
    """
    peaks = rates.probe, rates.baseline
    schedules = (functools.partial(falling, peak, rates.warmup) for peak in peaks)
    probe = averaged(descent(scale_by_standard_deviation(), *schedules))
    return Players(
        probe, control(margin, rates.multiplier), multiplier=min(start / margin, LARGEST)
    )


FALL = 1000  # the steps after which a falling rate is divided by √2


def falling(peak: float, warmup: int, step: Int[Array, ""]) -> Float[Array, ""]:
    """η·min(1, t/warm-up)/√(1 + t/1000): noise averages out, and no horizon need be known. Without
    a warm-up the first factor is 1."""
    warm = jnp.minimum(1.0, step / warmup) if warmup else 1.0
    return peak * warm / jnp.sqrt(1 + step / FALL)


def descent(
    scale: optax.GradientTransformation,
    probe: optax.ScalarOrSchedule,
    baseline: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """Steps against scaled gradients, with one rate for φ and one for b."""

    def at(rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
        return optax.chain(scale, optax.scale_by_learning_rate(rate))

    def labels(params: Any) -> Any:
        return {
            name: jax.tree.map(lambda _, name=name: name, part) for name, part in params.items()
        }

    return optax.partition({"gates": at(probe), "baselines": at(baseline)}, labels)


def _warmed_up(rates: Rates) -> list[optax.ScalarOrSchedule]:
    peaks = rates.probe, rates.baseline
    if not rates.warmup:
        return list(peaks)
    return [optax.linear_schedule(0.0, peak, rates.warmup) for peak in peaks]
