"""Intervals in a claim."""

import numpy as np

from diffmask_jax.analysis.bootstrap import Interval


def in_words(interval: Interval) -> str:
    """The interval of a number, in words."""
    if np.isnan(interval.low):
        return "of one passage, which gives no interval"
    return f"95% interval over passages {interval.low:.3g} to {interval.high:.3g}"


def picked(interval: Interval, at: int) -> Interval:
    """One of several numbers."""
    return Interval(*(values[at] for values in interval))
